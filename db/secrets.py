"""The secrets of users and programs: made here, shown once, stored as a digest only.

::

    rft_dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxs...
    └┬┘ └─── 32 random bytes, URL-safe base64 ──
     └ what it is, so that secret scanners recognise one in a commit

So many random bits cannot be guessed, so no salt and no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import re
import secrets

TOKEN = "rft_"  # noqa: S105  # the prefix, not a token
SESSION = "rfl_"
SHARE_LINK = "rfs_"
LOGIN_FLOW = "rfo_"
DEVICE = "rfd_"
RANDOM_BYTES = 32


# Plain, and as in a URL, where the underscore may be escaped.
_SHOWN = re.compile(r"(rf[tlsod]|whsec)(?:_|%5[fF])[A-Za-z0-9_%-]{16,}")


def hidden(text: str) -> str:
    """The text with every secret cut down to its prefix, for logs and the audit log."""
    return _SHOWN.sub(r"\1_...", text)


def new(prefix: str) -> tuple[str, str]:
    """A new secret and its digest."""
    secret = prefix + secrets.token_urlsafe(RANDOM_BYTES)
    return secret, digest_of(secret)


def digest_of(secret: str) -> str:
    """The digest of a secret, which is what is stored."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def form_key(session_secret: str) -> str:
    """The key in the forms of a login session, so that no other site can send them (CSRF)."""
    return digest_of(f"form:{session_secret}")

"""Secrets people and programs show us: made here, shown once, kept as a digest only.

::

    rft_dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxs...
    └┬┘ └─── 32 random bytes, URL-safe base64 ──
     └ what it is: a scanner that finds one in a commit knows whose it is

So much randomness needs no salt and no slow hash: there is nothing to guess.
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


# As they stand, and as an address may spell them: its underscore is escaped in some.
_SHOWN = re.compile(r"(rf[tlsod]|whsec)(?:_|%5[fF])[A-Za-z0-9_%-]{16,}")


def hidden(text: str) -> str:
    """The text with every secret of ours in it cut down to its prefix: for logs and the audit."""
    return _SHOWN.sub(r"\1_...", text)


def new(prefix: str) -> tuple[str, str]:
    """A new secret and its digest."""
    secret = prefix + secrets.token_urlsafe(RANDOM_BYTES)
    return secret, digest_of(secret)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def form_key(session_secret: str) -> str:
    """What the forms of a login session carry, so that no other site can send them (CSRF)."""
    return digest_of(f"form:{session_secret}")

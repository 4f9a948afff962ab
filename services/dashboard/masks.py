"""The form key as pages hold it: masked anew in every answer.

Answers are compressed. Who can make a browser ask for a page with words of his choice in the
address, and sees how long the encrypted answer is, could otherwise guess a secret of the page
letter by letter (BREACH): a guess that is right compresses better. A key that is written in another
way each time cannot be guessed so.
"""

import base64
import binascii
import secrets

_LEAD = "~"


def masked(key: str) -> str:
    """The key under a mask of its own length, which stands before it."""
    mask = secrets.token_bytes(len(key))
    hidden = bytes(one ^ other for one, other in zip(mask, key.encode("latin-1"), strict=True))
    return _LEAD + base64.urlsafe_b64encode(mask + hidden).decode()


def unmasked(text: str) -> str:
    """The key of a form; a text that is not masked is given back as it is.

    Empty for what no key is: it becomes a header, which carries printable ASCII alone.
    """
    key = _laid_bare(text)
    return key if key.isascii() and key.isprintable() else ""


def _laid_bare(text: str) -> str:
    if not text.startswith(_LEAD):
        return text
    try:
        data = base64.b64decode(text.removeprefix(_LEAD), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return ""
    half = len(data) // 2
    return bytes(one ^ other for one, other in zip(data[:half], data[half:])).decode("latin-1")  # noqa: B905  # an odd one is no key

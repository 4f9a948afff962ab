r"""Which text may be shown: one rule for requests, traces, mails, charts and the terminal.

Names and messages come from strangers. A terminal obeys control characters (ESC above all), XML
has no way to write most of them, UTF-8 none to write a lone surrogate, and the bidirectional
controls show a reader another order than the one that is stored (CVE-2021-42574). A door refuses
such text (:func:`first_unprintable` says where); what shows text that is already inside cleans it
(:func:`printable`).
"""

from __future__ import annotations

import re

_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # surrogates: half a character
    r"\ufdd0-\ufdef"  # what Unicode calls noncharacters, and the last two of each plane
    + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(0x11))
)
_IN_A_LINE = re.compile(f"[{_UNPRINTABLE}]")
_IN_A_TEXT = re.compile(rf"(?![\n\t])[{_UNPRINTABLE}]")


def first_unprintable(text: str, *, lines: bool = False) -> int | None:
    """Index of the first character that may not be shown, or None.

    With ``lines`` the text may have several: newline and tab are allowed.
    """
    found = (_IN_A_TEXT if lines else _IN_A_LINE).search(text)
    return found.start() if found else None


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with each character that may not be shown as an escape: ``\x1b``, ``\ud800``.

    Text without one comes back as it is. ``lines`` as in :func:`first_unprintable`.
    """
    return (_IN_A_TEXT if lines else _IN_A_LINE).sub(_escaped, text)


def name_of(character: str) -> str:
    """What a message calls one character: its code point (``U+001B``)."""
    return f"U+{ord(character):04X}"


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")

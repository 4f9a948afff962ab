"""Numbers, sizes and times as pages show them: plain text, which templates escape."""

import re
from datetime import datetime

from starlette.exceptions import HTTPException

from refault.compare import layout

_KIB = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# A hyphen that is a sign: not in 1-3, nor in a name.
_HYPHEN = re.compile(r"(?<![\w.-])-(?=[0-9])")
_MINUS = "\N{MINUS SIGN}"
_DIGITS_MAX = 9


def grouped(number: int | None) -> str:
    """A count with thousands separated: ``4,812,733``; a dash for none."""
    return "–" if number is None else signed(f"{number:,}")


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 cell``, ``12 cells``."""
    return layout.counted(count, noun)


def duration(seconds: float) -> str:
    """A time in its largest unit, rounded: ``8 s``, ``3 min``, ``2.5 h``, ``4 days``."""
    if seconds < _MINUTE - 0.5:
        return f"{max(seconds, 1):.0f} s"
    if seconds < _HOUR - 30:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.0f} days"


def size(size_bytes: int) -> str:
    """A size in the largest unit that leaves at least one before the point."""
    if size_bytes < _KIB:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= _KIB
        if value < _KIB or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def moment(time: str) -> str:
    """An RFC 3339 time of the API, to the minute: ``24 Nov 2026, 11:21 UTC``."""
    return f"{datetime.fromisoformat(time):%-d %b %Y, %H:%M} UTC"


def ratio(value: float) -> str:
    """A ratio to the base's: ``× 1.189``."""
    return f"× {value:.3f}"


def signed(number: str) -> str:
    """A number written with a hyphen, with the sign that is as wide as a plus."""
    return number.replace("-", _MINUS)


def difference(number: int) -> str:
    """A difference of counts: ``+18,162``, ``−3``; ``=`` for none."""
    return signed(f"{number:+,}") if number else "="


def whole_number(text: str, name: str) -> int:
    """A number of a query; a 422 for anything else, and for too many digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise HTTPException(422, f"{name} must be a whole number of at most {_DIGITS_MAX} digits")
    return int(text)


def with_minus(text: str) -> str:
    """A sentence of a comparison with the sign that the numbers of a page have."""
    return _HYPHEN.sub(_MINUS, text)


def change(delta: int, percent: str | None) -> str:
    """A change with arrow, sign and percentage: ``▲ +18,162 (+134%)``."""
    arrow = "▲" if delta > 0 else "▼"
    amount = f"{arrow} {delta:+,}"
    return signed(amount + (f" ({percent})" if percent else ""))

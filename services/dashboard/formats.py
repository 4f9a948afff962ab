"""Numbers, sizes and times as pages show them: plain text, which templates escape."""

from datetime import datetime

_KIB = 1024
_MINUS = "\N{MINUS SIGN}"


def grouped(number: int | None) -> str:
    """A count with thousands separated: ``4,812,733``; a dash for none."""
    return "–" if number is None else f"{number:,}".replace("-", _MINUS)


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 cell``, ``12 cells``."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


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


def change(delta: int, percent: str | None) -> str:
    """A change with arrow, sign and percentage: ``▲ +18,162 (+134%)``."""
    arrow = "▲" if delta > 0 else "▼"
    amount = f"{arrow} {delta:+,}"
    return (amount + (f" ({percent})" if percent else "")).replace("-", _MINUS)

"""Exact changes and their percentages as text, in integer arithmetic."""

from __future__ import annotations

_TWO_DECIMALS_BELOW = 100_00
_ONE_DECIMAL_BELOW = 10_000_00
_FULL = 100_0000


def change_text(delta: int) -> str:
    """A change with its sign, grouped: ``+18,162``, ``-233``, ``0``."""
    return f"{delta:+,d}" if delta else "0"


def percent_text(delta: int, base_value: int) -> str | None:
    """The change in percent of the base's value, or None from zero.

    Two decimals below one percent, one below a hundred, none above; halves
    are rounded away from zero: ``-0.24%``, ``+18.9%``, ``+134%``. What rounds to zero has no
    sign: ``0.00%``.
    """
    if base_value == 0:
        return None
    if delta == 0:
        return "0%"
    numerator, denominator = abs(delta) * _FULL, abs(base_value)
    sign = "-" if (delta < 0) != (base_value < 0) else "+"
    parts = _rounded(numerator, denominator)  # ten-thousandths of a percent
    if parts < _TWO_DECIMALS_BELOW:
        hundredths = _rounded(numerator, denominator * 100)
        if hundredths < 100:  # noqa: PLR2004 - rounding may reach the whole percent
            return f"{sign if hundredths else ''}0.{hundredths:02d}%"
    if parts < _ONE_DECIMAL_BELOW:
        whole, tenth = divmod(_rounded(numerator, denominator * 1000), 10)
        if whole < 100:  # noqa: PLR2004 - rounding may reach the hundred
            return f"{sign}{whole}.{tenth}%"
    return f"{sign}{_rounded(numerator, denominator * 10_000)}%"


def signed_percent(percent: float, decimals: int = 2) -> str:
    """A percentage with its sign, and none before a zero: ``+1.70``, ``-0.24``, ``0.00``."""
    text = f"{percent:+.{decimals}f}"
    return text if text.strip("+-0.") else text[1:]


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)

"""The account of a counter in 72 columns: totals, curve, and what carries the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.compare import layout
from refault.compare.percent import signed_percent

if TYPE_CHECKING:
    from refault.diverge.accounts import Account


def account_lines(account: Account) -> list[str]:
    """What the difference is, where it accumulates, and by which operations."""
    change = account.difference
    share = f" ({signed_percent(100 * change / account.first)} %)" if account.first else ""
    counts = f"A {account.first:,}, B {account.second:,}"
    lines = [
        f"{account.counter}: {counts}; B - A is {change:+,}{share}",
        "",
        f"B - A over {account.curve[-1][0]:,} operations",
        f"  {curve_text(account)}",
        _range(account),
    ]
    if account.carriers:
        lines += ["", "Carried by", *_carriers(account)]
    return lines


def curve_text(account: Account) -> str:
    """The curve as a line of bars between its lowest and its highest point."""
    return layout.bars([value for _, value in account.curve])


def _range(account: Account) -> str:
    values = [value for _, value in account.curve]
    low, high = min(0, *values), max(0, *values)
    return f"  lowest {low:+,}, highest {high:+,}, at the end {values[-1]:+,}"


def _carriers(account: Account) -> list[str]:
    lines = [f"  {'operation':12} {'region':12} {'A':>13} {'B':>13} {'B - A':>13}"]
    for each in account.carriers:
        numbers = f"{each.first:13,} {each.second:13,} {each.difference:+13,}"
        lines.append(f"  {each.operation:12} {each.region:12} {numbers}")
    if account.more_carriers:
        lines.append(f"  and {account.more_carriers:,} more")
    return lines

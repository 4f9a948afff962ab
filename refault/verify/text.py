"""A verification in plain text: the command line's, and the service's answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from refault.compare import layout

if TYPE_CHECKING:
    from refault.verify.verification import Verification

_WIDTHS = (7, 11, 11, 10)


def report_lines(found: Verification, *, title: str) -> Iterator[str]:
    """Its classes as a table, what was not asked, the first that differ, and the verdict."""
    head = layout.clean(f"{title}: {found.event_count:,} events")
    yield head
    yield "-" * layout.display_width(head)
    if found.is_truncated:
        yield "The file is truncated: verified up to its last whole block."
    yield _row("witness", "asked", "agree", "share")
    for of in found.witnesses:
        share = f"{of.agreed / of.asked:.4%}" if of.asked else "-"
        yield _row(of.name, f"{of.asked:,}", f"{of.agreed:,}", share)
    for count, what in (
        (found.without_witness, "accesses without a witness"),
        (found.unjudged, "page faults that tables alone do not explain: SMAP, keys, reserved bits"),
        (found.stores_outside, "stores to pages that the trace does not hold"),
    ):
        if count:
            yield f"{count:,} {what}"
    if found.working_set is not None and found.working_set.touched:
        most, told = max(found.working_set.frames), found.working_set
        yield f"working set: at most {most:,} frames of 4 KiB"
        yield f"  in one of {len(told.frames)} slices, {told.touched:,} of {told.memory:,} in all"
    for first in found.first:
        yield f"  {first.to_line()}"
    more = found.asked - found.agreed - len(found.first)
    if more > 0:
        yield f"  and {more:,} more"
    yield f"not good: {found.complaint}" if found.complaint else "good"


def _row(name: str, *numbers: str) -> str:
    cells = (number.rjust(width) for number, width in zip(numbers, _WIDTHS[1:], strict=True))
    return "".join([name.ljust(_WIDTHS[0]), *cells])

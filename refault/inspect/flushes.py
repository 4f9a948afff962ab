"""The last flush of each vCPU: found by looking row by row at the operations just before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.engines.audit import tell
from refault.engines.shadow.state import words
from refault.inspect.state import Turn, is_shadow

if TYPE_CHECKING:
    from refault.inspect.place import Timeline

#: So many operations are looked at.
ROWS = 2048


def last_flushes(timeline: Timeline, operation: int) -> dict[int, Turn]:
    """By vCPU: the latest of the last ROWS operations before ``operation`` that flushed its TLB."""
    found: dict[int, Turn] = {}
    start = max(0, operation - ROWS)
    with timeline.nearest(operation=start) as place:
        place.keeps = False
        host = place.host
        if not is_shadow(host):
            return {}
        place.reach_operation(start)
        flushes = int(host.machine.vm[words.HW_FLUSH])  # type: ignore[attr-defined]
        while (before := host.operation_count) < operation and place.advance_part(1):
            now = int(host.machine.vm[words.HW_FLUSH])  # type: ignore[attr-defined]
            row = place.latest
            if now != flushes and row is not None:
                done = tell.operation_text(row.kind, row.vcpu | row.user << 8, row.a, row.b)
                found[row.vcpu] = Turn(before, row.event, done, ())
            flushes = now
    return found

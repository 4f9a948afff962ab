"""The last flush of each vCPU: the operations just before are run with their counters kept."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from refault.diverge.counters import column_of, has_rows
from refault.engines.audit import tell
from refault.engines.base import Watch
from refault.errors import SnapshotRefused
from refault.inspect.state import Turn, is_shadow

if TYPE_CHECKING:
    from refault.inspect.place import Timeline

#: So many operations are looked at.
ROWS = 2048
_FLUSHES = "hw_flush"


def last_flushes(timeline: Timeline, operation: int) -> dict[int, Turn]:
    """By vCPU: the latest of the last ROWS operations before ``operation`` that flushed its TLB."""
    found: dict[int, Turn] = {}
    start = max(0, operation - ROWS)
    with timeline.nearest(operation=start) as place:
        place.keeps = False
        if not is_shadow(place.host):
            return {}
        place.reach_operation(start)
        rows = 1
        if has_rows(_FLUSHES, place.variants):
            # Rows are operations here: nothing comes between them. Without vCPUs yet, a host cannot
            # be put in the place of another: there the rows are looked at one by one.
            with contextlib.suppress(SnapshotRefused):
                place.watch(Watch(rows=True))
                rows = ROWS
        flushes = place.host.counters()[_FLUSHES]
        while (left := operation - place.host.operation_count) > 0:
            before, ops = place.host.operation_count, place.upcoming(min(rows, left))
            if ops is None or not place.advance_part(len(ops.kind)):
                break
            places, seen = [0], [place.host.counters()[_FLUSHES]]
            if rows > 1:
                places, seen = column_of(place.host, _FLUSHES)
            for at in np.flatnonzero(np.diff(seen, prepend=flushes)).tolist():
                row = int(places[at])
                user, a, b = int(ops.user[row]), int(ops.a[row]), int(ops.b[row])
                vcpu = int(ops.vcpu[row])
                done = tell.operation_text(int(ops.kind[row]), vcpu | user << 8, a, b)
                found[vcpu] = Turn(before + row, int(ops.event[row]), done, ())
            flushes = place.host.counters()[_FLUSHES]
    return found

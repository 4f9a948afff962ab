"""When KVM made, synced, unsynced or zapped a page of a table: found by its own tracepoints.

The run is repeated with room for tracepoints: backwards from one stored snapshot to the one before
it, or forwards, until one of the kind and table that are asked for is seen.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from refault.diverge.shadow_pages import page_text
from refault.engines.audit import tell
from refault.engines.shadow.kvm import tracepoints as tp
from refault.engines.shadow.state import machine, words
from refault.inspect.state import Turn, notation

if TYPE_CHECKING:
    from collections.abc import Callable

    from refault.inspect.place import Place, Timeline
    from refault.questions import Happening

#: Rows executed between two looks at what was seen.
ROWS = 1 << 14
_EVENTS = {
    "get": (tp.GET_PAGE, "kvm_mmu_get_page"),
    "sync": (tp.SYNC_PAGE, "kvm_mmu_sync_page"),
    "unsync": (tp.UNSYNC_PAGE, "kvm_mmu_unsync_page"),
    "zap": (tp.ZAP_PAGE, "kvm_mmu_zap_page"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One tracepoint: its operation, and its page as the tracepoint names it."""

    operation: int
    arguments: tuple[int, ...]


class Listener:
    """Takes a host's tracepoints in the place of an event log, and keeps those asked for."""

    def __init__(self, happening: Happening) -> None:
        self._event, _ = _EVENTS[happening.name]
        self._gfn = happening.gfn
        self.seen: list[Seen] = []

    def take(self, m: machine.Machine, *, is_over: Callable[[], bool]) -> None:
        """Read the rows and remove them."""
        del is_over
        vm = m.vm
        end = int(vm[words.EVENT_NEXT])
        if end <= words.VM_WORDS:
            return
        rows = np.asarray(vm[words.VM_WORDS : end], np.int64).reshape(-1, words.EVENT_WORDS)
        wanted = (rows[:, tp.EVENT] == self._event) & (rows[:, tp.ARGUMENTS] == self._gfn)
        for row in rows[wanted].tolist():
            self.seen.append(Seen(row[tp.STAMP], tuple(row[tp.ARGUMENTS :])))
        vm[words.EVENT_NEXT] = words.VM_WORDS


def latest(timeline: Timeline, operation: int, happening: Happening) -> Turn | None:
    """The latest before ``operation``, or None."""
    end = operation
    while True:
        with timeline.nearest(operation=end) as place:
            start = place.first_operation if place.first_event else None
            place.keeps = False
            listener = _listen(place, happening)
            _run(place, end, lambda: False)
            found = [each for each in listener.seen if each.operation < end]
        if found:
            return _turn(timeline, found[-1], happening)
        if start is None:
            return None
        end = start


def following(timeline: Timeline, operation: int, happening: Happening) -> Turn | None:
    """The first from ``operation`` on, or None."""
    with timeline.at_operation(operation) as place:
        listener = _listen(place, happening)
        place.keeps = False
        _run(place, None, lambda: bool(listener.seen))
    return _turn(timeline, listener.seen[0], happening) if listener.seen else None


def _listen(place: Place, happening: Happening) -> Listener:
    """Let the host write tracepoints from here on."""
    host = cast("Any", place.host)
    m = host.machine
    m.vm[words.EVENT_NEXT] = m.vm[words.EVENT_END] = words.VM_WORDS
    host.machine = machine.reserve(m)
    host.events = Listener(happening)
    return cast("Listener", host.events)


def _run(place: Place, end: int | None, is_done: Callable[[], bool]) -> None:
    """Execute up to ``end``, or to the end of the trace, or until it is done."""
    while not is_done():
        left = ROWS if end is None else min(ROWS, end - place.host.operation_count)
        if left <= 0 or not place.advance_part(left):
            return


def _turn(timeline: Timeline, seen: Seen, happening: Happening) -> Turn:
    _, name = _EVENTS[happening.name]
    with timeline.at_operation(seen.operation + 1) as place:
        row = place.latest
        gfn, role, roots, unsync, _ = seen.arguments
        told = f"{name}: {page_text(gfn, role, roots, unsync, notation(place.host))}"
        if row is None:
            return Turn(seen.operation, 0, "where the kernel broke", (told,))
        done = tell.operation_text(row.kind, row.vcpu | row.user << 8, row.a, row.b)
    return Turn(seen.operation, row.event, done, (told,))

"""Which operations changed some words of a host: the run is repeated with an eye on them.

It goes backwards, from one stored snapshot to the one before it, until it has seen enough. Within
such a stretch it runs forwards, many rows at a time; where a word changes more often than the watch
keeps, the stretch is run again, there a few rows at a time, and where that is still too much row by
row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refault.audits import Level
from refault.diverge.guest_walk import memory_word
from refault.engines.audit import watching
from refault.engines.audit import words as au
from refault.engines.audit.host import Host as WatchedHost
from refault.replay.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from refault.inspect.place import Place, Timeline

#: Rows between two looks at what was noted; fewer where too much was noted, at last one.
STEPS = (1 << 14, 512, 16, 1)
#: Later than any operation.
_END = 1 << 62


class Seen(NamedTuple):
    """A word that is watched: the number of its array (``WATCH_…``), and its place there."""

    array: int
    place: int


class Change(NamedTuple):
    """One change of a word: its operation as a ``WATCH`` row, and the word before and after."""

    operation: int
    seen: Seen
    words: list[int]


def changes_before(
    timeline: Timeline, operation: int, seen: Sequence[Seen], most: int
) -> list[Change]:
    """The latest changes of these words before ``operation``, oldest first.

    All of as many operations as ``most``, or of all that there were.
    """
    found: list[Change] = []
    end = operation
    while seen:
        start, here = _stretch(timeline, end, seen)
        found = here + found
        if start is None or len({change.operation for change in found}) >= most:
            break
        end = start
    kept = sorted({change.operation for change in found})[-most:]
    return [change for change in found if change.operation in set(kept)]


def _stretch(timeline: Timeline, end: int, seen: Sequence[Seen]) -> tuple[int | None, list[Change]]:
    """The changes since the snapshot before ``end``, and where that is; None: at the start."""
    close: dict[int, int] = {}
    while True:
        with timeline.nearest(operation=end) as place:
            start = place.first_operation if place.first_event else None
            place.keeps = False
            _watch(place, seen)
            changes, missed = _run(place, end, seen, close)
        if not missed:
            return start, changes
        close |= missed


def _watch(place: Place, seen: Sequence[Seen]) -> None:
    """Put a host that notes the changes in the place of the one there, in the same state."""
    host = place.host
    wanted = [(each.array, each.place, _END) for each in seen]
    watched = WatchedHost(host.variant, place.header, Budget(), Level("off"), wanted)
    place.hosts = [watched]
    if not place.first_event:
        if place.header.content == "capture":
            watched.begin()
        return
    watched.operation_count = host.operation_count
    watched.notes.restore(host.notes.pack())
    head, arrays = host.pack()
    given = iter([np.array(each, np.int64) for each in arrays])
    watched.restore(head, [len(each) for each in arrays], lambda _: next(given))
    watched._fit()  # noqa: SLF001 - what lies beside its arrays is as long as they are
    for number, each in enumerate(seen):
        at = number * watching.PLACE_WORDS + watching.VALUE
        watched.watches.places[at] = _value(watched, each)


def _value(host: WatchedHost, seen: Seen) -> int:
    """The word now; 0 where its array does not reach yet."""
    m = host.machine
    arrays = {
        au.WATCH_VM: m.vm,
        au.WATCH_PAGE: m.page,
        au.WATCH_SPT: m.spt,
        au.WATCH_USE: m.spt,
        au.WATCH_FRAME: m.frame,
    }
    if seen.array == au.WATCH_GUEST:
        return memory_word(host, seen.place)
    array = arrays[seen.array]
    return int(array[seen.place]) if seen.place < len(array) else 0


def _run(
    place: Place, end: int, seen: Sequence[Seen], close: dict[int, int]
) -> tuple[list[Change], dict[int, int]]:
    """Run to ``end``, more slowly where ``close`` says so; answers where too much was noted.

    Both are by operation: from there on, steps of that number in ``STEPS``.
    """
    host = place.host
    if not isinstance(host, WatchedHost):
        raise TypeError("the host notes changes")
    found: list[Change] = []
    missed: dict[int, int] = {}
    taken = [0] * len(seen)
    for here, depth in _looks(place, end, close):
        for number, each in enumerate(seen):
            count = int(host.watches.places[number * watching.PLACE_WORDS + watching.CHANGES])
            if count - taken[number] > watching.RING:
                missed[here] = depth + 1
            turns = range(max(taken[number], count - watching.RING), count)
            found += [_change(host, number, turn, each) for turn in turns]
            taken[number] = count
    found = [change for change in found if change.operation < end]
    found.sort(key=lambda change: change.operation)
    return found, missed


def _looks(
    place: Place, end: int, close: dict[int, int], depth: int = 0
) -> Iterator[tuple[int, int]]:
    """Run to ``end``; yields where each step of it began, and its number in ``STEPS``."""
    while (start := place.host.operation_count) < end and not place.host.stopped:
        rows = min(end - start, STEPS[depth], place.rows_left)
        if close.get(start, 0) > depth:
            yield from _looks(place, start + rows, close, depth + 1)
        elif place.advance_part(rows):
            yield start, depth
        if place.host.operation_count == start:
            return


def _change(host: WatchedHost, number: int, turn: int, seen: Seen) -> Change:
    at = (number * watching.RING + turn % watching.RING) * watching.CHANGE_WORDS
    words = [int(word) for word in host.watches.changes[at : at + watching.CHANGE_WORDS]]
    return Change(words[watching.TIME] - 1, seen, words)

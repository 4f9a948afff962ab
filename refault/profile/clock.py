"""The guest's time at each event of a trace, while its blocks are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.replay.lanes import BUFFERS
from refault.replay.lowering.rows import ROWS
from refault.timeline import UNITS, interval_of
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refault.trace import Block

INSTRUCTIONS, EVENTS = UNITS
#: Hosts are so many parts behind the reader at most, and a part comes from so many events.
_EVENTS_BEHIND = (BUFFERS + 2) * ROWS
_WINDOWS_AT_ONCE = 1 << 12
#: Events of which the instructions are summed at once.
STEP = 64


class _Piece(NamedTuple):
    """Guest instructions of a block: those before each STEP of its events, and after the last.

    Sums of every event would take longer than all else here.
    """

    first: int
    insns: Any
    steps: Any

    @property
    def event_count(self) -> int:
        """How many events it has."""
        return len(self.insns)

    def has(self, event: int) -> bool:
        """Whether the event is of this block."""
        return 0 <= event - self.first < self.event_count

    def before(self, events: Any) -> Any:
        """Instructions before each of some events of it."""
        places = np.asarray(events, np.int64) - self.first
        step, rest = places // STEP, places % STEP
        inside = self._rows(step) * (np.arange(STEP) < rest[:, None])
        return self.steps[step] + inside.sum(axis=1)

    def after(self, events: Any) -> Any:
        """The same with the event."""
        return self.before(events) + self.insns[np.asarray(events, np.int64) - self.first]

    def first_at(self, dues: Any) -> Any:
        """The first event whose time, with it, is each due or later; the piece has one."""
        step = np.maximum(np.searchsorted(self.steps, dues), 1) - 1
        upto = self.steps[step][:, None] + np.cumsum(self._rows(step), axis=1)
        return self.first + step * STEP + (upto < dues[:, None]).sum(axis=1)

    def _rows(self, step: Any) -> Any:
        """The instructions of whole steps; behind the end the last event's, which is in none."""
        places = step[:, None] * STEP + np.arange(STEP)
        return self.insns[np.minimum(places, self.event_count - 1)].astype(np.int64)


def _piece_of(block: Block, begin: int) -> _Piece:
    whole = block.event_count // STEP * STEP
    sums = block.insns[:whole].reshape(-1, STEP).sum(axis=1, dtype=np.int64)
    rest = block.insns[whole:].sum(dtype=np.int64)
    steps = np.concatenate(([begin], sums, [rest] if whole < block.event_count else []))
    return _Piece(block.first_event_index, block.insns, np.cumsum(steps, dtype=np.int64))


class ClockedReader(TraceReader):
    """A reader that knows the guest's time at each event of the latest blocks.

    ``unit`` is what samples are spaced by: events if the trace's first block has no instructions.
    ``interval`` is what is known of the distance of samples before the end: 1 without an index.
    """

    unit = INSTRUCTIONS
    interval = 1
    _pieces: tuple[_Piece, ...] = ()
    # Where a resumed replay begins: an event, and the instructions before it.
    _resumed: tuple[int, int] | None = None

    def resume(self, unit: str, events: int, instructions: int) -> None:
        """Go on after so many events and guest instructions, counted by ``unit``."""
        self.unit = unit
        self._resumed = (events, instructions)

    def blocks(self, first_event: int = 0) -> Iterator[Block]:
        """As of any reader."""
        index = self._index()
        for block in super().blocks(first_event):
            if not self._pieces and self._resumed is None:
                self.unit = INSTRUCTIONS if block.insns.any() else EVENTS
            if not self._pieces and index is not None:
                is_timed = self.unit == INSTRUCTIONS
                total = index.instruction_count if is_timed else index.event_count
                self.interval = interval_of(total)
            self._add(block)
            yield block

    def _add(self, block: Block) -> None:
        if not block.event_count:
            return
        begin = 0
        if self._pieces:
            begin = int(self._pieces[-1].steps[-1])
        elif self._resumed is not None:
            events, instructions = self._resumed
            done = block.insns[: max(0, events - block.first_event_index)]
            begin = instructions - int(done.sum(dtype=np.int64))
        first = block.first_event_index
        kept = [
            each for each in self._pieces if each.first + each.event_count > first - _EVENTS_BEHIND
        ]
        # In one go: hosts on other threads read it.
        self._pieces = (*kept, _piece_of(block, begin))

    def instructions_before(self, event: int) -> int:
        """Guest instructions before an event of the latest blocks, or before the one after them."""
        for piece in reversed(self._pieces):
            if piece.has(event):
                return int(piece.before([event])[0])
            if event >= piece.first:
                return int(piece.steps[-1])
        return 0

    def places_of(self, events: list[int], interval: int) -> tuple[list[int], list[int]]:
        """Of each event its interval, and the instructions before it."""
        pieces = self._pieces if events else ()
        for piece in pieces:
            if piece.has(events[0]) and piece.has(events[-1]):
                before = piece.before(events).tolist()
                times = events if self.unit == EVENTS else piece.after(events).tolist()
                return [time // interval for time in times], before
        return (
            [self.window_of(event, interval) for event in events],
            [self.instructions_before(event) for event in events],
        )

    def window_of(self, event: int, interval: int) -> int:
        """In which interval the event is, by the time with it."""
        if self.unit == EVENTS:
            return event // interval
        return self.instructions_before(event + 1) // interval

    def event_at(self, due: int) -> int:
        """The first event whose time, with it, is ``due`` or later; else one after all known."""
        if self.unit == EVENTS:
            return due
        pieces = self._pieces
        for piece in pieces:
            if piece.steps[-1] >= due:
                return int(piece.first_at(np.array([due]))[0])
        return pieces[-1].first + pieces[-1].event_count

    def rows_due(self, events: Any, window: int, interval: int) -> list[int] | None:
        """The first row in each interval from ``window`` on, of rows of these events.

        None if the events are of several blocks, or the intervals are many.
        """
        first, last = int(events[0]), int(events[-1])
        if self.unit == EVENTS:
            windows = range(window, last // interval + 1)
            starts: Any = np.arange(windows.start, windows.stop) * interval
        else:
            piece = next(
                (each for each in self._pieces if each.has(first) and each.has(last)), None
            )
            if piece is None:
                return None
            windows = range(window, int(piece.after([last])[0]) // interval + 1)
            if 0 < len(windows) <= _WINDOWS_AT_ONCE:
                starts = piece.first_at(np.arange(windows.start, windows.stop) * interval)
        if len(windows) > _WINDOWS_AT_ONCE:
            return None
        if not windows:
            return []
        rows: list[int] = np.searchsorted(events, starts).tolist()
        return list(dict.fromkeys(rows))

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


class _Piece(NamedTuple):
    """Guest instructions up to and with each event of a block; ``begin`` are those before it."""

    first: int
    begin: int
    upto: Any

    def has(self, event: int) -> bool:
        """Whether the event is of this block."""
        return 0 <= event - self.first < len(self.upto)


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
        upto = np.cumsum(block.insns, dtype=np.int64)
        begin = 0
        if self._pieces:
            last = self._pieces[-1]
            begin = int(last.upto[-1]) if len(last.upto) else last.begin
        elif self._resumed is not None:
            events, instructions = self._resumed
            done = events - block.first_event_index
            begin = instructions - (int(upto[done - 1]) if done > 0 else 0)
        first = block.first_event_index
        kept = [
            each for each in self._pieces if each.first + len(each.upto) > first - _EVENTS_BEHIND
        ]
        # In one go: hosts on other threads read it.
        upto += begin
        self._pieces = (*kept, _Piece(first, begin, upto))

    def instructions_before(self, event: int) -> int:
        """Guest instructions before an event of the latest blocks, or before the one after them."""
        for piece in reversed(self._pieces):
            place = event - piece.first
            if place > 0:
                return int(piece.upto[min(place, len(piece.upto)) - 1])
            if place == 0:
                return int(piece.begin)
        return 0

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
            if len(piece.upto) and piece.upto[-1] >= due:
                return piece.first + int(np.searchsorted(piece.upto, due))
        last = pieces[-1]
        return last.first + len(last.upto)

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
            windows = range(window, int(piece.upto[last - piece.first]) // interval + 1)
            if len(windows) <= _WINDOWS_AT_ONCE:
                dues = np.arange(windows.start, windows.stop) * interval
                starts = piece.first + np.searchsorted(piece.upto, dues)
        if len(windows) > _WINDOWS_AT_ONCE:
            return None
        rows: list[int] = np.searchsorted(events, starts).tolist()
        return list(dict.fromkeys(rows))

"""The guest's time at each event of a trace, while its blocks are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from refault.replay.lanes import BUFFERS
from refault.replay.lowering.rows import ROWS
from refault.timeline import UNITS, interval_of
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refault.trace import Block

INSTRUCTIONS, EVENTS = UNITS
#: Hosts are so many parts behind the reader at most, and a part comes from so many events.
_EVENTS_BEHIND = (BUFFERS + 2) * ROWS
_WINDOWS_AT_ONCE = 1 << 12
#: Answers remembered: hosts are a few parts of the rows apart, and ask twice about each.
_ANSWERS_KEPT = 8 * BUFFERS
_Answer = TypeVar("_Answer")


class _Piece(NamedTuple):
    """Guest instructions of a block: those before each of its events, and after the last."""

    first: int
    sums: Any

    @property
    def event_count(self) -> int:
        """How many events it has."""
        return len(self.sums) - 1

    def has(self, event: int) -> bool:
        """Whether the event is of this block."""
        return 0 <= event - self.first < self.event_count

    def before(self, events: Any) -> Any:
        """Instructions before each of some events of it."""
        return self.sums[np.asarray(events, np.int64) - self.first]

    def after(self, events: Any) -> Any:
        """The same, with the event itself."""
        return self.sums[np.asarray(events, np.int64) - self.first + 1]

    def first_at(self, dues: Any) -> Any:
        """The first event whose time, with it, is each due or later; the piece has one."""
        return self.first + np.maximum(np.searchsorted(self.sums, dues), 1) - 1


def _piece_of(block: Block, begin: int) -> _Piece:
    sums = np.empty(block.event_count + 1, np.int64)
    sums[0] = begin
    np.cumsum(block.insns, dtype=np.int64, out=sums[1:])
    sums[1:] += begin
    return _Piece(block.first_event_index, sums)


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

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._answers: dict[tuple[int, ...], Any] = {}

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
            begin = int(self._pieces[-1].sums[-1])
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

    def _remembered(self, asked: tuple[int, ...], answer: Callable[[], _Answer]) -> _Answer:
        """Answer once what the hosts of all variants ask, each when it comes to those rows."""
        known: Any = self._answers.get(asked, self)
        if known is self:
            known = answer()
            if len(self._answers) >= _ANSWERS_KEPT:
                self._answers = {}
            self._answers[asked] = known
        found: _Answer = known
        return found

    def instructions_before(self, event: int) -> int:
        """Guest instructions before an event of the latest blocks, or before the one after them."""
        for piece in reversed(self._pieces):
            if piece.has(event):
                return int(piece.before([event])[0])
            if event >= piece.first:
                return int(piece.sums[-1])
        return 0

    def places_of(self, events: list[int], interval: int) -> tuple[list[int], list[int]]:
        """Of each event its interval, and the instructions before it; remembered a while."""
        if not events:
            return [], []
        asked = (events[0], events[-1], len(events), interval)
        return self._remembered(asked, lambda: self._places_of(events, interval))

    def _places_of(self, events: list[int], interval: int) -> tuple[list[int], list[int]]:
        spans = self._spans(events)
        if spans is None:
            return (
                [self.window_of(event, interval) for event in events],
                [self.instructions_before(event) for event in events],
            )
        numbers = np.asarray(events, np.int64)
        parts = [(piece, numbers[low:high]) for piece, low, high in spans]
        before = np.concatenate([piece.before(part) for piece, part in parts])
        times = numbers
        if self.unit != EVENTS:
            times = np.concatenate([piece.after(part) for piece, part in parts])
        return (times // interval).tolist(), before.tolist()

    def _spans(self, events: Any) -> list[tuple[_Piece, int, int]] | None:
        """Which of these ascending events are of which block; None if not all are of known ones."""
        spans, end = [], 0
        for piece in self._pieces:
            ends = (piece.first, piece.first + piece.event_count)
            low, high = np.searchsorted(events, ends).tolist()
            if low < high:
                if low != end:
                    return None
                spans.append((piece, low, high))
                end = high
        return spans if end == len(events) else None

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
            if piece.sums[-1] >= due:
                return int(piece.first_at(np.array([due]))[0])
        return pieces[-1].first + pieces[-1].event_count

    def rows_due(self, events: Any, window: int, interval: int) -> list[int] | None:
        """The first row in each interval from ``window`` on, of rows of these events.

        None if an event is of no known block, or the intervals are many. Remembered a while.
        """
        asked = (int(events[0]), int(events[-1]), len(events), window, interval)
        return self._remembered(asked, lambda: self._rows_due(events, window, interval))

    def _rows_due(self, events: Any, window: int, interval: int) -> list[int] | None:
        spans = self._spans(events)
        if spans is None:
            return None
        rows: list[int] = []
        for piece, _, high in spans:
            last = int(events[high - 1])
            end = last if self.unit == EVENTS else int(piece.after([last])[0])
            windows = range(window, end // interval + 1)
            if len(windows) > _WINDOWS_AT_ONCE:
                return None
            if windows:
                dues = np.arange(windows.start, windows.stop) * interval
                starts = dues if self.unit == EVENTS else piece.first_at(dues)
                rows += np.searchsorted(events, starts).tolist()
                window = windows.stop
        return list(dict.fromkeys(rows))

"""A trace that begins late: registers and page tables as they were, then the events from there on.

::

    trace    0 ────────────────────────────── R ───────────── E
                   lowered, not replayed      │   in memory
                                              ▼
    program        what makes the state at R, then events R to E - 1

What a host had built before R is not there. Whether the defect shows without it is found by trying,
from late beginnings to early ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Protocol

from refault.errors import ReplayTooLarge
from refault.shrink.capture_state import CaptureState
from refault.shrink.operations_state import OperationsState
from refault.shrink.program import Program, joined
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from refault.trace.contents import Block

#: The shortest trace that is tried, in events, and how much longer each next one is.
SHORTEST = 1 << 10
LONGER = 2
#: The most events that are held in memory: 25 bytes each, and as many again for a candidate.
LONGEST = 1 << 23


class State(Protocol):
    """The guest's state as events go by."""

    @property
    def events(self) -> int:
        """How many went by."""

    def advance(self, event: int, look: Callable[[], object]) -> bool:
        """Let all events before that one go by, or some more; False at the end of the trace."""

    def prefix(self) -> Block | None:
        """The events that make this state, or None where none can."""


@dataclasses.dataclass(frozen=True)
class Beginning:
    """Where a trace may begin: an event, and what must be said before it."""

    event: int
    prefix: Block


def events_of(trace: Path, end: int) -> Program:
    """All events before ``end``.

    Raises:
        ReplayTooLarge: they are more than are held in memory.
    """
    if end > LONGEST:
        raise ReplayTooLarge(
            f"the property shows at event {end - 1} first, and no shorter trace that begins later "
            f"has it: more than {LONGEST} events are not shrunk; cut the trace nearer to it"
        )
    with TraceReader(trace, allow_truncated=True) as reader:
        return Program(reader.header, joined(list(_between(reader, 0, end))))


def programs(trace: Path, end: int, look: Callable[[], object]) -> Iterator[Program]:
    """The traces that end before event ``end``, the one that begins last first.

    They begin up to ``LONGEST`` events before the end. The last one has all events before ``end``.
    ``look`` is called between parts; what it raises is raised.

    Raises:
        ReplayTooLarge: none of them was the right one, and all events do not fit in memory.
    """
    starts = _starts(end)
    if starts:
        with TraceReader(trace, allow_truncated=True) as reader:
            header = reader.header
            events = joined(list(_between(reader, starts[-1], end)))
        for each in reversed(list(_beginnings(trace, starts[::-1], look))):
            rest = events.part(each.event - starts[-1], events.event_count)
            yield Program(header, joined([each.prefix, rest]), each.event)
    yield events_of(trace, end)


def _starts(end: int) -> list[int]:
    """Where to begin, latest first."""
    starts = []
    length = SHORTEST
    while length < end and length <= LONGEST:
        starts.append(end - length)
        length *= LONGER
    return starts


def _between(reader: TraceReader, first: int, end: int) -> Iterator[Block]:
    """The events from ``first`` to ``end`` - 1."""
    with contextlib.closing(reader.blocks(first)) as blocks:  # type: ignore[type-var]
        for block in blocks:
            at = block.first_event_index
            if at >= end:
                return
            if at + block.event_count > first:
                part = block.part(max(0, first - at), min(block.event_count, end - at))
                yield part.copied()


def _beginnings(trace: Path, starts: list[int], look: Callable[[], object]) -> Iterator[Beginning]:
    """What must be said before each of these events, which ascend.

    A place at which no trace can begin is moved on by some events, or left out.
    """
    with TraceReader(trace, allow_truncated=True) as reader:
        kind = CaptureState if reader.header.content == "capture" else OperationsState
        state: State = kind(reader.header, reader.blocks())
        for start in starts:
            if not state.advance(start, look):
                return
            prefix = state.prefix()
            if prefix is not None:
                yield Beginning(state.events, prefix)

"""A trace that begins late: registers and page tables as they were, then the events from there on.

::

    trace    0 ────────────────────────────── R ───────────── E
                   lowered, not executed      │   in memory
                                              ▼
    program        snapshots of the tables at R, registers, events R to E - 1

What a host had built before R is not there. Whether the defect shows without it is found by trying,
from late beginnings to early ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.errors import ReplayTooLarge
from refault.replay import x86
from refault.replay.lowering import known_memory as known
from refault.replay.lowering.rows import RowSource
from refault.shrink.program import ENTRY, SNAPSHOT, Program, block_from, block_of, joined
from refault.trace import TraceReader
from refault.trace.format import EventKind, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from refault.trace.contents import Block, TraceHeader

    Row = tuple[int, int, int, int, int, int]

#: The shortest trace that is tried, in events, and how much longer each next one is.
SHORTEST = 1 << 10
LONGER = 2
#: The most events that are held in memory: 25 bytes each, and as many again for a candidate.
LONGEST = 1 << 23
#: A table store waits for the snapshots behind it, so many events at most; no trace begins there.
_WAIT_EVENTS = 1 << 13
_EFER = 0xC000_0080
#: What the host was told before, and what holds on.
_LASTING = (
    EventKind.OP_MEM,
    EventKind.OP_LOG,
    EventKind.OP_NR_PAGES,
    EventKind.OP_MEM_DELETE,
)
_LASTING_MAX = 4096


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

    Of a capture they begin late, up to ``LONGEST`` events before the end. The last one has all
    events before ``end``, if they fit. ``look`` is called between parts; what it raises is raised.
    """
    with TraceReader(trace, allow_truncated=True) as reader:
        header = reader.header
    if header.content == "capture":
        starts = _starts(end)
        if starts:
            with TraceReader(trace, allow_truncated=True) as reader:
                events = joined(list(_between(reader, starts[-1], end)))
            begun = list(_beginnings(trace, starts[::-1], look))
            for each in reversed(begun):
                rest = events.part(each.event - starts[-1], events.event_count)
                yield Program(header, joined([each.prefix, rest]), each.event)
    if end <= LONGEST or header.content == "operations":
        yield events_of(trace, end)


def _starts(end: int) -> list[int]:
    """Where to begin, latest first."""
    starts = []
    length = SHORTEST
    while length < min(end, LONGEST):
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

    A place is moved on to the next event between two table stores, or left out.
    """
    lasting = _Before()
    with TraceReader(trace, allow_truncated=True) as reader:
        source = RowSource(reader.header)
        parts = source.parts(lasting.followed(reader.blocks()))
        for start in starts:
            if not _advance(source, parts, start, look):
                return
            if _is_between(source) and _can_begin(source.lowering, reader.header):
                prefix = _prefix(source.lowering, reader.header, lasting.before(source.events))
                yield Beginning(source.events, prefix)


def _advance(
    source: RowSource, parts: Iterator[Any], start: int, look: Callable[[], object]
) -> bool:
    """Lower all events before ``start``, and on to one between two table stores."""
    source.stop_at = start
    while source.events < start:
        look()
        if next(parts, None) is None:
            return False
    for _ in range(_WAIT_EVENTS):
        if _is_between(source):
            break
        source.stop_at = source.events + 1
        if next(parts, None) is None:
            return False
    return True


def _is_between(source: RowSource) -> bool:
    state = source.lowering.state
    return not state[known.HELD] and not state[known.SNAP_LEFT]


def _can_begin(lowering: known.Lowering, header: TraceHeader) -> bool:
    """Whether all processors that run have paging on: others cannot be started by registers."""
    for vcpu in range(header.vcpu_count):
        cpu = known.VCPU_TABLE + vcpu * known.VCPU_TABLE_WORDS
        if lowering.state[cpu + 4] and not lowering.state[cpu] & x86.CR0_PG:
            return False
    return True


def _row(block: Block, place: int) -> Row:
    columns = (block.kind, block.vcpu, block.flags, block.aux, block.a, block.b)
    kind, vcpu, flags, aux, a, b = (int(column[place]) for column in columns)
    return kind, vcpu, flags, aux, a, b


class _Before:
    """What came before an event: the levels of tables, and what the host was told."""

    def __init__(self) -> None:
        self._tables: list[Any] = []
        self._told: list[tuple[int, Row]] = []

    def followed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks."""
        for block in blocks:
            at = np.flatnonzero(block.kind == EventKind.TABLE_SNAPSHOT)
            self._tables.append(
                np.stack(
                    (block.first_event_index + at, block.a[at] >> x86.PAGE_SHIFT, block.aux[at])
                )
            )
            for place in np.flatnonzero(np.isin(block.kind, _LASTING)).tolist():
                if len(self._told) < _LASTING_MAX:
                    self._told.append((block.first_event_index + place, _row(block, place)))
            yield block

    def before(self, event: int) -> tuple[dict[int, int], list[Row]]:
        """The latest level of each table, and the operations of the host that hold on."""
        levels: dict[int, int] = {}
        for tables in self._tables:
            seen = tables[:, tables[0] < event]
            levels.update(zip(seen[1].tolist(), seen[2].tolist(), strict=True))
        return levels, [row for at, row in self._told if at < event]


def _prefix(
    lowering: known.Lowering, header: TraceHeader, before: tuple[dict[int, int], list[Row]]
) -> Block:
    """Events that make the state: tables, registers, and what the host was told."""
    levels, told = before
    return joined(
        [_tables(lowering, header, levels), block_of([*_registers(lowering, header), *told])]
    )


def _tables(lowering: known.Lowering, header: TraceHeader, levels: dict[int, int]) -> Block:
    """A snapshot of each table that is tracked."""
    tracked, pages, memory = (
        np.asarray(words) for words in (lowering.tracked, lowering.pages, lowering.memory)
    )
    parts = []
    first = 0
    for slot in header.slots:
        here = np.flatnonzero(tracked[first : first + slot.page_count])
        for number in here.tolist():
            page = int(pages[first + number])
            gfn = slot.base_gfn + number
            words = memory[page : page + x86.ENTRIES] if page else np.zeros(0, np.int64)
            parts.append(_table(gfn, levels.get(gfn, 1), words))
        first += slot.page_count
    return joined(parts)


def _table(gfn: int, level: int, words: Any) -> Block:
    """One snapshot: the entries that are not zero."""
    used = np.flatnonzero(words)
    count = 1 + len(used)
    kind = np.full(count, ENTRY)
    aux, a, b = (np.zeros(count, np.int64) for _ in range(3))
    kind[0], aux[0], b[0] = SNAPSHOT, level, len(used)
    a += gfn << x86.PAGE_SHIFT
    a[1:] += used * 8
    b[1:] = words[used]
    return block_from(kind, 0, int(Flag.INIT), aux, a, b)


def _registers(lowering: known.Lowering, header: TraceHeader) -> list[Row]:
    """Registers of each processor; CR3 last, which starts it where paging is on."""
    rows: list[Row] = []
    init = int(Flag.INIT)
    for vcpu in range(header.vcpu_count):
        cpu = known.VCPU_TABLE + vcpu * known.VCPU_TABLE_WORDS
        cr0, cr3, cr4, efer, is_booted, real_cr4 = (
            int(word) for word in lowering.state[cpu : cpu + known.VCPU_TABLE_WORDS]
        )
        rows += [
            (EventKind.MSR, vcpu, init, 0, _EFER, efer),
            (EventKind.CR, vcpu, init, 4, real_cr4 or cr4, 0),
            (EventKind.CR, vcpu, init, 0, cr0, 0),
        ]
        if is_booted or cr3:
            rows.append((EventKind.CR, vcpu, init, 3, cr3, 0))
    return rows

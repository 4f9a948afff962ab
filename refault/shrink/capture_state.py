"""A captured guest at an event, and the events that make it: tables, registers, what it was told.

It is what the lowering knows, which needs no engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.replay import x86
from refault.replay.lowering import known_memory as known
from refault.replay.lowering.rows import RowSource
from refault.shrink.program import ENTRY, SNAPSHOT, Told, block_from, block_of, joined
from refault.trace.format import EventKind, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refault.shrink.program import Row
    from refault.trace.contents import Block, TraceHeader

#: A table store waits for the snapshots behind it, so many events at most; no trace begins there.
_WAIT_EVENTS = 1 << 13
_EFER = 0xC000_0080
#: What the host was told before, and what holds on.
_LASTING = (
    EventKind.OP_MEM,
    EventKind.OP_LOG,
    EventKind.OP_LOG_OFF,
    EventKind.OP_NR_PAGES,
    EventKind.OP_MEM_DELETE,
)


class CaptureState:
    """The guest of a capture as its events go by."""

    def __init__(self, header: TraceHeader, blocks: Iterator[Block]) -> None:
        self._header = header
        self._source = RowSource(header)
        self._told = Told(_LASTING)
        self._tables: list[Any] = []
        self._parts = self._source.parts(self._told.followed(self._followed(blocks)))

    @property
    def events(self) -> int:
        """How many went by."""
        return self._source.events

    def advance(self, event: int, look: Callable[[], object]) -> bool:
        """Let all events before that one go by, and some more if a table store waits there."""
        source = self._source
        source.stop_at = event
        while source.events < event:
            look()
            if next(self._parts, None) is None:
                return False
        for _ in range(_WAIT_EVENTS):
            if self._is_between():
                break
            source.stop_at = source.events + 1
            if next(self._parts, None) is None:
                return False
        return True

    def prefix(self) -> Block | None:
        """Snapshots of the tables, registers, and what the host was told.

        None between a table store and its snapshots, and where a processor that runs has left
        paging: registers at the start only begin one that has it.
        """
        told = self._told.before(self.events)
        if told is None or not self._is_between() or not self._has_paging():
            return None
        return joined([self._tables_now(), block_of([*self._registers(), *told])])

    def _followed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks; what is said of the levels of tables is kept."""
        for block in blocks:
            at = np.flatnonzero(block.kind == SNAPSHOT)
            gfns = block.a[at] >> x86.PAGE_SHIFT
            self._tables.append(np.stack((block.first_event_index + at, gfns, block.aux[at])))
            yield block

    def _is_between(self) -> bool:
        state = self._source.lowering.state
        return not state[known.HELD] and not state[known.SNAP_LEFT]

    def _cpu(self, vcpu: int) -> list[int]:
        """CR0, CR3, CR4, EFER, whether it runs, and CR4 as the real guest had it."""
        at = known.VCPU_TABLE + vcpu * known.VCPU_TABLE_WORDS
        words = self._source.lowering.state[at : at + known.VCPU_TABLE_WORDS]
        return [int(word) for word in words]

    def _has_paging(self) -> bool:
        cpus = [self._cpu(vcpu) for vcpu in range(self._header.vcpu_count)]
        return all(cr0 & x86.CR0_PG or not runs for cr0, _, _, _, runs, _ in cpus)

    def _registers(self) -> list[Row]:
        """Registers of each processor; CR3 last, which starts it where paging is on."""
        rows: list[Row] = []
        init = int(Flag.INIT)
        for vcpu in range(self._header.vcpu_count):
            cr0, cr3, cr4, efer, runs, real_cr4 = self._cpu(vcpu)
            rows += [
                (EventKind.MSR, vcpu, init, 0, _EFER, efer),
                (EventKind.CR, vcpu, init, 4, real_cr4 or cr4, 0),
                (EventKind.CR, vcpu, init, 0, cr0, 0),
            ]
            if runs or cr3:
                rows.append((EventKind.CR, vcpu, init, 3, cr3, 0))
        return rows

    def _tables_now(self) -> Block:
        """A snapshot of each table that is tracked."""
        lowering = self._source.lowering
        tracked, pages, memory = (
            np.asarray(words) for words in (lowering.tracked, lowering.pages, lowering.memory)
        )
        levels: dict[int, int] = {}
        for tables in self._tables:
            seen = tables[:, tables[0] < self.events]
            levels.update(zip(seen[1].tolist(), seen[2].tolist(), strict=True))
        parts = []
        first = 0
        for slot in self._header.slots:
            for number in np.flatnonzero(tracked[first : first + slot.page_count]).tolist():
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

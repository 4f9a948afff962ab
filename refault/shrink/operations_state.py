"""The guest of a trace of operations at an event, and the operations that make it.

It is what the architecture alone makes of the operations before: memory with all A and D bits, and
the registers of each processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refault.catalogue import PatchSet, resolve
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.engines.walk import words as arch
from refault.replay import x86
from refault.replay.budget import Budget
from refault.replay.lowering.rows import RowSource
from refault.shrink.program import FIRST_HALVES, Told, block_from, block_of, joined
from refault.trace.format import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refault.shrink.program import Row
    from refault.trace.contents import Block, TraceHeader

#: The most words of memory that a trace begins with: it should be shorter than what it replaces.
_WORDS_MAX = 1 << 20
_LASTING = (
    EventKind.OP_VM,
    EventKind.OP_MEM,
    EventKind.OP_MEM_DELETE,
    EventKind.OP_LOG,
    EventKind.OP_LOG_OFF,
    EventKind.OP_NR_PAGES,
)


class OperationsState:
    """The guest of a trace of operations as they go by."""

    def __init__(self, header: TraceHeader, blocks: Iterator[Block]) -> None:
        self._source = RowSource(header)
        self._told = Told(_LASTING)
        self._booting: set[int] = set()
        self._host = get_engine("walk").open(resolve(PatchSet("walk")), header, Budget(), Watch())
        self._parts = self._source.parts(self._told.followed(self._followed(blocks)))

    @property
    def events(self) -> int:
        """How many went by."""
        return self._source.events

    def advance(self, event: int, look: Callable[[], object]) -> bool:
        """Let all events before that one go by, and the second half of a boot."""
        self._source.stop_at = event
        while self._source.events < event or self._source.events - 1 in self._booting:
            self._source.stop_at = max(event, self._source.events + 1)
            look()
            part = next(self._parts, None)
            if part is None:
                return False
            ops, count, _ = part
            self._host.execute(ops, count)
            self._host.notes.findings.kept.clear()
        return True

    def prefix(self) -> Block | None:
        """Operations that make the machine, its slots, memory and processors; None if too many."""
        told = self._told.before(self.events)
        memory = self._memory()
        if told is None or memory is None:
            return None
        first, rest = _lasting(told)
        return joined([block_of(first), memory, block_of([*self._boots(), *rest])])

    def _followed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks; where processors begin is kept."""
        for block in blocks:
            at = np.flatnonzero(np.isin(block.kind, FIRST_HALVES))
            self._booting.update((block.first_event_index + at).tolist())
            yield block

    @property
    def _machine(self) -> arch.Machine:
        machine: arch.Machine = self._host.machine  # type: ignore[attr-defined]
        return machine

    def _memory(self) -> Block | None:
        """Every word of memory that is not zero."""
        state = self._machine.state
        frames, memory = np.asarray(self._machine.frames), np.asarray(self._machine.mem)
        parts = []
        words_left = _WORDS_MAX
        for slot in range(int(state[arch.SLOT_COUNT])):
            at = arch.SLOTS + slot * arch.SLOT_WORDS
            if not state[at + arch.SLOT_USED]:
                continue
            base, count = int(state[at + arch.SLOT_BASE]), int(state[at + arch.SLOT_PAGES])
            start = int(state[at + arch.SLOT_FRAMES])
            pages = frames[start : start + count]
            for number in np.flatnonzero(pages).tolist():
                page = int(pages[number])
                words = memory[page : page + x86.ENTRIES]
                used = np.flatnonzero(words)
                words_left -= len(used)
                if words_left < 0:
                    return None
                a = (base + number << x86.PAGE_SHIFT) + used * 8
                kinds = np.full(len(used), EventKind.OP_POKE)
                parts.append(block_from(kinds, 0, 0, 0, a, words[used]))
        return joined(parts)

    def _boots(self) -> Iterator[Row]:
        """Every processor that runs, with its registers."""
        state = self._machine.state
        for vcpu in range(int(state[arch.VCPU_COUNT])):
            at = arch.CPUS + vcpu * arch.CPU_WORDS
            cr0, cr3, cr4, efer, runs = (int(state[at + word]) for word in range(5))
            if runs:
                yield EventKind.OP_BOOT_CR, vcpu, 0, 0, cr0, cr3
                yield EventKind.OP_BOOT, vcpu, 0, 0, cr4, efer


def _lasting(told: list[Row]) -> tuple[list[Row], list[Row]]:
    """Of what the host was told what still holds: machine and slots, then logs and page limit."""
    machine: list[Row] = []
    slots: dict[int, Row] = {}
    logs: dict[int, Row] = {}
    limit: list[Row] = []
    for row in told:
        kind, _, _, slot, _, _ = row
        if kind == EventKind.OP_VM:
            machine = [row]
        elif kind == EventKind.OP_MEM:
            slots.setdefault(slot, row)
        elif kind == EventKind.OP_MEM_DELETE:
            slots.pop(slot, None)
            logs.pop(slot, None)
        elif kind == EventKind.OP_LOG:
            logs[slot] = row
        elif kind == EventKind.OP_LOG_OFF:
            logs.pop(slot, None)
        else:
            limit = [row]
    return [*machine, *slots.values()], [*logs.values(), *limit]

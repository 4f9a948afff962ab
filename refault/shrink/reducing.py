"""Removes events as long as what is left passes.

Large groups go first, chosen so that they can go at once: entries that no walk reads, events that
become no operation, accesses of one kind, all that concerns one page or one table. Then runs of
neighbouring events, each half as long as the one before, down to single events and pairs; and all
of it again until nothing can go. The order is fixed, so that the same trace gives the same bytes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.catalogue import PatchSet, resolve
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.engines.walk import words as arch
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.budget import Budget
from refault.shrink.program import ENTRY, POKE, SNAPSHOT, Program
from refault.trace.format import EventKind, Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from refault.shrink.probes import Rows
    from refault.shrink.program import Mask
    from refault.shrink.trials import Demands, Trials
    from refault.trace.contents import Block

    Places = NDArray[np.int64]

#: Pairs of single events are tried where at most so many are left.
PAIRS_MAX = 120
_MARKS = x86.ACCESSED | x86.DIRTY
_ACCESSES = (EventKind.ACCESS, EventKind.PAGE_FAULT)
#: What a trace may begin with before its first processor.
_AT_START = (
    SNAPSHOT,
    ENTRY,
    POKE,
    EventKind.OP_VM,
    EventKind.OP_MEM,
    EventKind.OP_NOTE,
    EventKind.OP_LOG,
    EventKind.OP_NR_PAGES,
)
_PDPT = ~31  # where CR3 leads under PAE: 32 bytes
_SILENT = (
    EventKind.ACCESS,
    EventKind.TABLE_DROP,
    EventKind.MARK,
    EventKind.FILTER_FLUSH,
    EventKind.OP_NOTE,
)


class Reducer:
    """A program that passes, and a mask of what is left of it.

    ``on_stage`` is told what begins, in words, with the number of events left.
    """

    def __init__(
        self,
        trials: Trials,
        program: Program,
        kept: Mask,
        demands: Demands,
        on_stage: Callable[[str, int], object] = lambda stage, events: None,  # noqa: ARG005
    ) -> None:
        self._trials = trials
        self._demands = demands
        self._on_stage = on_stage
        self.program = program
        self.kept = kept
        self.is_minimal = False

    @property
    def events(self) -> int:
        """How many events are left."""
        return int(self.kept.sum())

    def reduce(self) -> None:
        """Remove all that can be removed; ``is_minimal`` when no single event can go.

        Raises:
            OutOfTime: the time is used up; what is left passes.
        """
        self._stage("entries that no walk reads")
        self._drop_unread()
        self._stage("events without an operation")
        self._drop_silent()
        self._compact()
        before = self.events + 1
        while self.events < before:
            before = self.events
            self._stage("kinds of events")
            self._remove_each(list(self._kinds()))
            self._stage("pages and tables")
            self._remove(list(self._regions()))
            self._compact()
            self._stage("events")
            self._remove(self._singles())
            self._compact()
            if self.events <= PAIRS_MAX:
                self._stage("pairs of events")
                self._remove_pairs()
        self.is_minimal = True

    def _stage(self, name: str) -> None:
        self._on_stage(name, self.events)

    def _compact(self) -> None:
        self.program = self.program.compact(self.kept)
        self.kept = self.program.everything()

    # --- what can go -----------------------------------------------------------------------

    def _try_without(self, places: Places) -> bool:
        """Whether what is left passes without these events; they are gone then."""
        candidate = self.kept.copy()
        candidate[places] = False
        candidate = self.program.lawful(candidate)
        if np.array_equal(candidate, self.kept):
            return False
        passed = self._trials.judge(self.program, candidate, self._demands)
        if passed is None:
            return False
        self.kept = passed
        return True

    def _remove(self, units: Sequence[Places]) -> None:
        """Remove runs of units: half of them at once, a quarter, down to one."""
        left = list(units)
        size = len(left)
        while left:
            size = max(1, size // 2)
            at = 0
            is_changed = False
            while at < len(left):
                run = left[at : at + size]
                if self._try_without(np.concatenate(run)):
                    left[at : at + size] = []
                    is_changed = True
                else:
                    at += size
            left = [unit for unit in left if self.kept[unit].any()]
            if size == 1 and not is_changed:
                return

    def _remove_each(self, units: Sequence[Places]) -> None:
        """Try each unit alone, once."""
        for unit in units:
            if self.kept[unit].any():
                self._try_without(unit)

    def _remove_pairs(self) -> None:
        """Two events that can only go together: a value stored and taken back, for example."""
        is_changed = True
        while is_changed:
            is_changed = False
            for first, second in itertools.combinations(self._singles(), 2):
                if self.kept[first].all() and self.kept[second].all():
                    is_changed |= self._try_without(np.concatenate((first, second)))

    def _singles(self) -> list[Places]:
        """Each event alone."""
        return [np.array([place]) for place in np.flatnonzero(self.kept).tolist()]

    # --- groups ------------------------------------------------------------------------------

    def _kinds(self) -> Iterator[Places]:
        """Events of one kind and mode, the most frequent first."""
        block = self.program.block
        keys = block.kind.astype(np.int64) << 8 | block.flags & ~np.uint8(Flag.INIT)
        yield from self._groups(keys, largest_first=True)

    def _regions(self) -> Iterator[Places]:
        """Events that concern one page of addresses, one table, or one value of a register."""
        block = self.program.block
        is_access = np.isin(block.kind, _ACCESSES) | (
            (block.kind >= EventKind.OP_LD) & (block.kind <= EventKind.OP_INVLPG)
        )
        places = block.a >> x86.PAGE_SHIFT
        keys = np.where(is_access, places | 1 << 60, places & ~(1 << 60))
        keys[block.kind == EventKind.MSR] = -1
        yield from self._groups(keys, largest_first=False)

    def _groups(self, keys: Any, *, largest_first: bool) -> list[Places]:
        """The events left, by key; in the order in which keys come first, or by number."""
        places = np.flatnonzero(self.kept)
        _, first, inverse = np.unique(keys[places], return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        groups = np.split(places[order], np.cumsum(np.bincount(inverse))[:-1])
        rank = first.tolist()
        ranked = sorted(range(len(groups)), key=rank.__getitem__)
        if largest_first:
            ranked.sort(key=lambda each: -len(groups[each]))
        return [groups[each] for each in ranked]

    # --- what is not needed ------------------------------------------------------------------

    def _drop_silent(self) -> None:
        """Events that become no operation."""
        block = self.program.taken(self.kept)
        heard = np.zeros(block.event_count, np.bool_)
        for ops, count in self._trials.lowered(self.program.header, block).rows:
            heard[np.asarray(ops.event[:count], np.int64)] = True
        silent = np.isin(block.kind, _SILENT) & ~heard
        if silent.any():
            self._try_without(np.flatnonzero(self.kept)[silent])

    def _drop_unread(self) -> None:
        """Entries at the start that no walk of the guest reads, and tables without entries."""
        unread = self._unread()
        if len(unread):
            self._try_without(unread)
        block = self.program.taken(self.kept)
        empty = (block.kind == SNAPSHOT) & (block.b == 0)
        if empty.any():
            self._try_without(np.flatnonzero(self.kept)[empty])

    def _unread(self) -> Places:
        """Entries of the first snapshots that keep a cleared A bit when all events are executed."""
        block, places = self.program.taken(self.kept), np.flatnonzero(self.kept)
        is_before = np.isin(block.kind, _AT_START) | (block.flags & np.uint8(Flag.INIT) != 0)
        is_start = np.cumsum(~is_before) == 0
        entries = np.flatnonzero(np.isin(block.kind, (ENTRY, POKE)) & is_start)
        rows = self._trials.lowered(self.program.header, block).rows
        modes = _modes(rows)
        if modes == {"32bit"}:
            marks = _MARKS | _MARKS << 32  # two entries in a word
        elif modes <= {"long", "pae"}:
            marks = _MARKS
        else:
            return np.zeros(0, np.int64)
        if "pae" in modes:
            # The four entries that CR3 leads to have no A bit.
            tables = np.unique(_roots(rows) & _PDPT)
            entries = entries[~np.isin(block.a[entries] & _PDPT, tables)]
        probed = block._replace(b=block.b.copy())
        probed.b[entries] &= ~marks
        words = self._memory_after(probed, block.a[entries])
        unread: Places = places[entries[words == probed.b[entries]]]
        return unread

    def _memory_after(self, block: Block, gpas: Places) -> Any:
        """Words of memory after all events, by the architecture alone."""
        walk = get_engine("walk").open(
            resolve(PatchSet("walk")), self.program.header, Budget(), Watch()
        )
        walk.begin()
        for ops, count in self._trials.lowered(self.program.header, block).rows:
            walk.execute(ops, count)
        machine: arch.Machine = walk.machine  # type: ignore[attr-defined]
        return _words_of(machine, gpas)


def _modes(rows: Rows) -> set[str]:
    """The paging modes in which processors begin, or are set."""
    modes = set()
    for ops, count in rows:
        for at in np.flatnonzero(np.isin(ops.kind[:count], (op.BOOT, op.SREGS))).tolist():
            registers = int(ops.a[at])
            if not registers & x86.CR0_PG:
                modes.add("nonpaging")
            elif ops.want[at] & x86.EFER_LMA:
                modes.add("long")
            else:
                modes.add("pae" if registers >> 32 & x86.CR4_PAE else "32bit")
    return modes


def _roots(rows: Rows) -> Any:
    """Every value of CR3."""
    found = [np.zeros(0, np.int64)]
    for ops, count in rows:
        kind, a, b = (np.asarray(column[:count]) for column in (ops.kind, ops.a, ops.b))
        found += [b[np.isin(kind, (op.BOOT, op.SREGS))], a[kind == op.SET_CR3]]
    return np.concatenate(found)


def _words_of(machine: arch.Machine, gpas: Any) -> Any:
    """What guest memory holds at these addresses."""
    state = machine.state
    frames, memory = np.asarray(machine.frames), np.asarray(machine.mem)
    gfns, found = gpas >> x86.PAGE_SHIFT, np.zeros(len(gpas), np.int64)
    for slot in range(int(state[arch.SLOT_COUNT])):
        at = arch.SLOTS + slot * arch.SLOT_WORDS
        base, count = int(state[at + arch.SLOT_BASE]), int(state[at + arch.SLOT_PAGES])
        here = np.flatnonzero((gfns >= base) & (gfns < base + count))
        pages = frames[int(state[at + arch.SLOT_FRAMES]) + gfns[here] - base]
        words = memory[pages + (gpas[here] >> 3 & (x86.ENTRIES - 1))]
        found[here] = np.where(pages == 0, 0, words)
    return found

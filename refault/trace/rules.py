"""The rules for the values of events, as far as they can be checked without an MMU.

Every rule looks at whole columns. The error names the event and the byte its block begins at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refault.errors import TraceCorrupt
from refault.trace.contents import PAGE_BYTES, Block, TraceHeader
from refault.trace.format import (
    CAPTURE_KINDS,
    KIND_NAMES,
    MAX_GFN,
    MAX_GUEST_PAGES,
    MAX_SLOTS,
    MEM_LEVEL_MASK,
    OPERATION_KINDS,
    EventKind,
)
from refault.trace.halves import FIRST, SECOND, Halves

Column = NDArray[Any]
KNOWN_FLAGS: Final = 63
EFER: Final = 0xC000_0080
ENTRIES_PER_TABLE: Final = 512
K: Final = {kind.name: int(kind) for kind in EventKind}
SNAPSHOT_KINDS: Final = ("TABLE_SNAPSHOT", "TABLE_ENTRY")
NOWHERE: Final = np.empty(0, np.int64)


class _Rows:
    """The events of one kind in a block; their columns are made on demand."""

    def __init__(self, block: Block, events: Column, header: TraceHeader) -> None:
        self.block = block
        self.events = events
        self.header = header

    def __getattr__(self, column: str) -> Column:
        values: Column = getattr(self.block, column).take(self.events)
        setattr(self, column, values)
        return values

    def outside_memory(self) -> Column:
        """Which ``a`` lie in no slot of the header."""
        inside: Column | bool = False
        for slot in self.header.slots:
            above = (self.a - slot.base_gfn * PAGE_BYTES).view(np.uint64)
            inside |= above < slot.page_count * PAGE_BYTES
        return np.logical_not(inside)


class _Rule(NamedTuple):
    """``broken`` marks the rows that break it."""

    message: str
    broken: Callable[[_Rows], Column]


def _misaligned(size: int) -> _Rule:
    message = f"its address is not a multiple of {size}"
    return _Rule(message, lambda rows: (rows.a & (size - 1)) != 0)


OUTSIDE: Final = _Rule(
    "its page table lies outside the guest's memory, which the header's slots describe",
    _Rows.outside_memory,
)
OFF_PAGE: Final = _Rule(
    "its address is not that of a page", lambda rows: (rows.a & (PAGE_BYTES - 1)) != 0
)
UNKNOWN_SLOT: Final = _Rule(
    f"slots are numbered 0 to {MAX_SLOTS - 1}", lambda rows: rows.aux >= MAX_SLOTS
)
NO_LEVEL: Final = "tables have levels 1 to 4, or to 5 in a guest of mode long5"


def _levels(rows: _Rows) -> int:
    """How many levels the guest's tables may have."""
    return 5 if rows.header.guest_mode == "long5" else 4


def _no_store_aux(rows: _Rows) -> Column:
    """Which aux do not have log2 of 1 to 8 bytes in the low nibble and a level in the high."""
    highest = 16 * _levels(rows) - 1
    return ((rows.aux & 15) > 3) | (rows.aux - np.uint8(16) > highest)  # level 0 wraps round


def _store_misfits(rows: _Rows) -> Column:
    """Which TABLE_STOREs cross a multiple of their size, or have a value wider than it."""
    misfits: Column = (rows.a & 7) != 0
    narrow = np.flatnonzero((rows.aux & 15) != 3)
    if len(narrow):  # seldom: guests write whole entries
        size = 1 << (rows.aux[narrow] & 15).astype(np.int64)
        a, b = rows.a[narrow], rows.block.b[rows.events[narrow]]
        misfits[narrow] = (a & (size - 1) != 0) | (b >> 8 * size != 0)
    return misfits


def _fault_flags(rows: _Rows) -> Column:
    """The flags a page fault's error code stands for: W from bit 1, U from bit 2, I from bit 4."""
    return (rows.b >> 1 & 1) | (rows.b >> 4 & 1) << 1 | (rows.b & 4)


def _leave_memory(rows: _Rows) -> Column:
    """Which ranges of frames, of ``b`` frames from ``a`` on, no guest's memory can have."""
    too_far: Column = (rows.a > MAX_GFN) | (rows.b > MAX_GUEST_PAGES)
    return (rows.a < 0) | (rows.b < 1) | too_far | (rows.a + rows.b > MAX_GFN)


RULES: Final[dict[int, tuple[_Rule, ...]]] = {
    K["TABLE_STORE"]: (
        OUTSIDE,
        _Rule("its size or level is not valid", _no_store_aux),
        _Rule("its address or its value does not fit its size", _store_misfits),
    ),
    K["CR"]: (
        _Rule(
            "control registers 0, 3 and 4 are recorded",
            lambda rows: (rows.aux != 0) & (rows.aux != 3) & (rows.aux != 4),
        ),
    ),
    K["MSR"]: (_Rule(f"only EFER ({EFER:#x}) is recorded", lambda rows: rows.a != EFER),),
    K["PAGE_FAULT"]: (
        _Rule("its aux is not the low byte of its code", lambda rows: rows.aux != rows.b & 0xFF),
        _Rule("its flags contradict its code", lambda rows: rows.flags & 7 != _fault_flags(rows)),
    ),
    K["TABLE_SNAPSHOT"]: (
        OUTSIDE,
        OFF_PAGE,
        _Rule(NO_LEVEL, lambda rows: (rows.aux == 0) | (rows.aux > _levels(rows))),
        _Rule(
            f"a table has at most {ENTRIES_PER_TABLE} entries",
            lambda rows: (rows.b < 0) | (rows.b > ENTRIES_PER_TABLE),
        ),
    ),
    K["TABLE_ENTRY"]: (
        OUTSIDE,
        _misaligned(8),
        _Rule("entries of a snapshot have insns 0", lambda rows: rows.insns != 0),
    ),
    K["TABLE_DROP"]: (
        OUTSIDE,
        OFF_PAGE,
        _Rule(NO_LEVEL, lambda rows: (rows.b < 1) | (rows.b > _levels(rows))),
    ),
    K["INVPCID"]: (_Rule("its types are 0 to 3", lambda rows: rows.aux > 3),),
    K["OP_VM"]: (
        _Rule("bypass is 0 or 1", lambda rows: (rows.b < 0) | (rows.b > 1)),
        _Rule(
            "its number of vCPUs is not the header's", lambda rows: rows.a != rows.header.vcpu_count
        ),
    ),
    K["OP_NOTE"]: (
        _Rule(
            "the header has no such note",
            lambda rows: (rows.a < 0) | (rows.a >= len(rows.header.notes)),
        ),
    ),
    K["OP_MEM"]: (
        UNKNOWN_SLOT,
        _Rule("host levels are 1 to 3", lambda rows: rows.flags & MEM_LEVEL_MASK == 0),
        _Rule(
            f"memory ends at frame {MAX_GFN}, and a guest has at most {MAX_GUEST_PAGES} pages",
            _leave_memory,
        ),
    ),
    K["OP_LOG"]: (UNKNOWN_SLOT,),
    K["OP_DIRTYLOG"]: (UNKNOWN_SLOT,),
    K["OP_MEM_DELETE"]: (UNKNOWN_SLOT,),
    K["OP_LOG_OFF"]: (UNKNOWN_SLOT,),
    K["OP_GET_DIRTY_LOG"]: (UNKNOWN_SLOT,),
    K["OP_UNMAP_RANGE"]: (
        _Rule(
            f"a range has 1 to {MAX_GUEST_PAGES} frames, and memory ends at frame {MAX_GFN}",
            _leave_memory,
        ),
    ),
    K["OP_POKE"]: (_misaligned(8),),
    K["OP_LD"]: (_misaligned(8),),
    K["OP_EX"]: (_misaligned(8),),
    K["OP_ST"]: (_misaligned(8),),
    K["OP_ST4"]: (_misaligned(4),),
    K["OP_ST2"]: (_misaligned(2),),
    K["OP_CHANGE_PTE"]: (
        _Rule("the new entry is writable (1) or not (0)", lambda rows: (rows.b < 0) | (rows.b > 1)),
    ),
}


class EventRules:
    """Checks the events of one trace, in order; remembers what is still open."""

    def __init__(self, header: TraceHeader) -> None:
        self._header = header
        self._allowed = CAPTURE_KINDS if header.content == "capture" else OPERATION_KINDS
        self._offset = 0
        self._entries_due = 0
        self._table_gpa = 0
        self._last_entry_gpa = -1
        self._halves = Halves()
        self._is_begun_amid = False

    def begin_amid(self) -> None:
        """The next block is not the first: entries or a boot it begins with are accepted."""
        self._is_begun_amid = True

    def begin_block(self, kinds: Iterable[int], offset: int) -> None:
        """The next events belong to a block that holds these kinds and begins at byte ``offset``.

        Raises:
            TraceCorrupt: a trace of this content has no events of such a kind.
        """
        self._offset = offset
        for kind in kinds:
            if kind not in self._allowed:
                raise TraceCorrupt(
                    f"the block holds events of kind {KIND_NAMES.get(kind, kind)}, which a trace "
                    f"of content {self._header.content!r} cannot have",
                    offset=offset,
                )

    def check(self, block: Block, places: Mapping[int, Column]) -> None:
        """Check the next events of the block.

        ``places`` maps each kind among them to the positions of its events, ascending.

        Raises:
            TraceCorrupt: an event breaks a rule.
        """
        if int(block.vcpu.max()) >= self._header.vcpu_count:
            worst = block.vcpu >= self._header.vcpu_count
            raise self._refuse(
                block, int(worst.argmax()), f"the header has {self._header.vcpu_count} vCPUs"
            )
        if int(block.flags.max()) > KNOWN_FLAGS:
            raise self._refuse(block, int((block.flags > KNOWN_FLAGS).argmax()), "unknown flag")
        for kind, events in places.items():
            rows = _Rows(block, events, self._header)
            for rule in RULES.get(kind, ()):
                if (broken := rule.broken(rows)).any():
                    raise self._refuse(block, int(events[broken.argmax()]), rule.message)
        if self._header.content == "operations":
            self._check_first(block, places.get(K["OP_VM"], NOWHERE))
        if self._is_begun_amid:
            self._take_as_due(block)
        snapshots, entries = (places.get(K[name], NOWHERE) for name in SNAPSHOT_KINDS)
        if self._entries_due or len(snapshots) or len(entries):
            self._check_snapshots(block, snapshots, entries)
        self._check_halves(block, places)

    def finish(self, *, offset: int) -> None:
        """The trace ended before byte ``offset``: nothing may be open.

        Raises:
            TraceCorrupt: the last snapshot or boot is incomplete.
        """
        if self._entries_due:
            raise TraceCorrupt(
                f"the trace ends {self._entries_due} entries before the end of a table snapshot",
                offset=offset,
            )
        if between := self._halves.unfinished():
            raise TraceCorrupt(f"the trace ends between {between}", offset=offset)

    def _take_as_due(self, block: Block) -> None:
        """Entries or a boot at the start of a block belong to what the block before began."""
        others = np.flatnonzero(block.kind != K["TABLE_ENTRY"])
        due = int(others[0]) if len(others) else block.event_count
        self._is_begun_amid = due == block.event_count
        if due:
            self._entries_due = due
            self._table_gpa = int(block.a[0]) & -PAGE_BYTES
        self._halves.begin_amid(block)

    def _check_first(self, block: Block, machines: Column) -> None:
        """OP_VM is the first event of operations, and occurs once."""
        if block.first_event_index == 0:
            if not len(machines) or machines[0]:
                raise self._refuse(block, 0, "a trace of operations begins with OP_VM")
            machines = machines[1:]
        if len(machines):
            raise self._refuse(block, int(machines[0]), "OP_VM occurs once only, first")

    def _check_snapshots(self, block: Block, starts: Column, found: Column) -> None:
        """A TABLE_SNAPSHOT is followed by its ``b`` entries, ascending in its page; no others."""
        # A snapshot that the last events left open counts as one just before the first of these.
        counts = np.append(self._entries_due, block.b[starts])
        tables = np.append(self._table_gpa, block.a[starts])
        starts = np.append(-1, starts)
        owner = np.repeat(np.arange(len(starts)), counts)
        place = starts[owner] + 1 + np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
        due = place[place < block.event_count]
        owner = owner[: len(due)]
        common = min(len(found), len(due))
        wrong = np.flatnonzero(found[:common] != due[:common])
        if len(wrong) or len(found) != len(due):
            at = int(wrong[0]) if len(wrong) else common
            first = min(int(places[at]) for places in (found, due) if at < len(places))
            raise self._refuse(
                block, first, "a snapshot is followed by all its TABLE_ENTRY events, and no others"
            )
        entries = block.a[found]
        before = np.append(self._last_entry_gpa, entries)[:-1]
        strays = (entries & -PAGE_BYTES != tables[owner]) | (
            (entries <= before) & (np.append(0, owner)[:-1] == owner)
        )
        if strays.any():
            at = int(found[strays.argmax()])
            raise self._refuse(block, at, "entries of a snapshot ascend within its page")
        self._entries_due = len(place) - len(due)
        self._table_gpa = int(tables[-1])
        continued = self._entries_due and len(found) and owner[-1] == len(starts) - 1
        self._last_entry_gpa = int(entries[-1]) if continued else -1

    def _check_halves(self, block: Block, places: Mapping[int, Column]) -> None:
        """Registers that take two events."""
        for first, second in zip(FIRST, SECOND, strict=True):
            halves, found = places.get(first, NOWHERE), places.get(second, NOWHERE)
            misfit = self._halves.misfit(block, first, halves, found)
            if misfit is not None:
                raise self._refuse(block, misfit.at, misfit.why)

    def _refuse(self, block: Block, at: int, why: str) -> TraceCorrupt:
        a, b = (int(column[at]) % (1 << 64) for column in (block.a, block.b))
        return TraceCorrupt(
            f"event {block.first_event_index + at} ({KIND_NAMES[int(block.kind[at])]}, "
            f"vCPU {block.vcpu[at]}, aux {block.aux[at]}, a {a:#x}, b {b:#x}): {why}; "
            "the tool that wrote it is wrong, or the header is",
            offset=self._offset,
        )

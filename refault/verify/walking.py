"""The guest's own tables as a trace has them, and one walk of them (Intel SDM 3A, 4.3 to 4.8).

::

    event ──► registers of its vCPU, words of its tables
          └─► witness: an access with its guest-physical address, or a #PF with its error code
                 └─► walk ──► the same?  counted by class; the first that differ are kept

Nothing of a hypervisor is here, and nothing of what an engine assumes: entries are what the guest
stored, and a table that the trace does not hold is said to be missing. All of a capture's kernels
are in this file, as numba looks for changes in the file of a door only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.replay import x86
from refault.replay.compile.jit import bare, door, inlined, kernel
from refault.replay.lowering.known_memory import (
    MEMORY_NEXT,
    Lowering,
    frame_number,
    known_entry,
    known_word,
    set_known_word,
)
from refault.replay.memory import merged_word
from refault.trace import EventKind

ACCESS = int(EventKind.ACCESS)
TABLE_STORE = int(EventKind.TABLE_STORE)
CR = int(EventKind.CR)
MSR = int(EventKind.MSR)
PAGE_FAULT = int(EventKind.PAGE_FAULT)
TABLE_SNAPSHOT = int(EventKind.TABLE_SNAPSHOT)
TABLE_ENTRY = int(EventKind.TABLE_ENTRY)
TABLE_DROP = int(EventKind.TABLE_DROP)

FLAG_WRITE, FLAG_FETCH, FLAG_USER, FLAG_NOGPA = 1, 2, 4, 16
CR4_LA57, CR4_SMEP, CR4_SMAP = 1 << 12, 1 << 20, 1 << 21
PF_KEY = 1 << 5

#: How a walk ends.
MAPPED, ABSENT, RESERVED, UNKNOWN_TABLE, NONCANONICAL = range(5)

#: The classes that witnesses are counted by.
READ, WRITE, FETCH, FAULT = range(4)
CLASSES = ("read", "write", "fetch", "fault")

# counts[]: for each class how many were asked and how many agreed, then these.
AGREED = len(CLASSES)
NO_WITNESS = 2 * len(CLASSES)
UNJUDGED = NO_WITNESS + 1  # faults that only rights outside the tables explain
STORES = UNJUDGED + 1
STORES_ASTRAY = STORES + 1  # to a page that no snapshot began
KEPT = STORES_ASTRAY + 1  # rows of ``first`` in use
COUNT_WORDS = KEPT + 1

# A row of first[]: what differed.
FIRST_EVENT, FIRST_VCPU, FIRST_CLASS, FIRST_FLAGS, FIRST_GVA, FIRST_SEEN, FIRST_END, FIRST_TOLD = (
    range(8)
)
FIRST_WORDS = 8
FIRST_ROWS = 20

# registers[]: of each vCPU
CR0, CR3, CR4, EFER = range(4)
REGISTER_WORDS = 4

# walk[]: of the latest walk
ADDRESS, RIGHTS, NO_FETCH = range(3)
WALK_WORDS = 3

PAGE_WORDS = x86.ENTRIES

# Of a working set: slices of a level, and levels; a slice of level n has 2**n instructions.
SLICE_BITS = 6
LEVELS = 58


class Checked(NamedTuple):
    """State between two blocks."""

    registers: Any
    counts: Any
    first: Any
    walk: Any
    page: Any  # first word: gfn of the snapshot whose entries come, or -1


class Touched(NamedTuple):
    """Which frames were touched when, between two blocks (``working_set.py``)."""

    last: Any  # per frame: 1 + the time it was last touched, 0: never
    counts: Any  # per level and slice: frames that are touched in it
    level: Any  # first word: the lowest level whose slices hold all time so far


@kernel
def levels_of(c: Checked, cpu: int) -> int:
    """Levels of the guest's tables (SDM 4.1.1); 0 without paging."""
    if not c.registers[cpu + CR0] & x86.CR0_PG:
        return x86.NONPAGING
    if c.registers[cpu + EFER] & x86.EFER_LME:
        return x86.LONG_LEVELS + (1 if c.registers[cpu + CR4] & CR4_LA57 else 0)
    return x86.PAE_LEVELS if c.registers[cpu + CR4] & x86.CR4_PAE else x86.LEGACY_LEVELS


@inlined
def is_tracked(t: Lowering, gpa: int) -> bool:
    """Does the trace hold the page of that table?"""
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    return frame >= 0 and t.tracked[frame] != 0


@kernel
def walk_tables(t: Lowering, c: Checked, cpu: int, gva: int) -> int:
    """How the walk of an address ends; mapped, its physical address and rights are in ``walk``."""
    walk = c.walk
    walk[RIGHTS] = x86.PERMISSIONS
    walk[NO_FETCH] = 0
    levels = levels_of(c, cpu)
    cr3 = c.registers[cpu + CR3]
    if levels == x86.NONPAGING:
        walk[ADDRESS] = gva & x86.U32
        return MAPPED
    if levels == x86.LEGACY_LEVELS:
        return walk_32(t, c, cpu, cr3 & x86.FRAME32_MASK, gva & x86.U32)
    if levels == x86.PAE_LEVELS:
        gva &= x86.U32
        gpa = (cr3 & 0xFFFF_FFE0) + (gva >> 30) * 8
        if not is_tracked(t, gpa):
            return UNKNOWN_TABLE
        entry = known_entry(t, gpa, 8)
        if not entry & x86.PRESENT:
            return ABSENT
        return descend(t, c, cpu, entry, x86.PAE_LEVELS - 1, gva)
    top = gva >> (11 + 9 * levels)
    if top != 0 and top != -1:
        return NONCANONICAL
    return descend(t, c, cpu, cr3, levels, gva)


@kernel
def descend(t: Lowering, c: Checked, cpu: int, entry: int, level: int, gva: int) -> int:
    """Down the tables of 8-byte entries from the one that ``entry`` names."""
    walk = c.walk
    no_execute = c.registers[cpu + EFER] & x86.EFER_NX
    while True:  # one iteration per level
        frame = frame_number(t, (entry & x86.FRAME_MASK) >> x86.PAGE_SHIFT)
        if frame < 0 or not t.tracked[frame]:
            return UNKNOWN_TABLE
        shift = x86.PAGE_SHIFT + 9 * (level - 1)
        entry = known_word(t, frame, (gva >> shift) & 511)
        if not entry & x86.PRESENT:
            return ABSENT
        if entry < 0:
            if not no_execute:
                return RESERVED
            walk[NO_FETCH] = 1
        walk[RIGHTS] &= entry
        if level == 1 or (entry & x86.LARGE and level <= 3):
            inside = (1 << shift) - 1
            walk[ADDRESS] = (entry & x86.FRAME_MASK & ~inside) | (gva & inside)
            return MAPPED
        level -= 1


@kernel
def walk_32(t: Lowering, c: Checked, cpu: int, table: int, gva: int) -> int:
    """Down two tables of 4-byte entries, or to a page of 4 MiB in the first."""
    walk = c.walk
    gpa = table + (gva >> 22) * 4
    if not is_tracked(t, gpa):
        return UNKNOWN_TABLE
    entry = known_entry(t, gpa, 4)
    if not entry & x86.PRESENT:
        return ABSENT
    walk[RIGHTS] &= entry
    if entry & x86.LARGE and c.registers[cpu + CR4] & x86.CR4_PSE:
        inside = (1 << 22) - 1
        high = (entry >> 13 & 0xFF) << 32  # PSE-36: bits 13 to 20 are address bits 32 to 39
        walk[ADDRESS] = high | (entry & x86.FRAME32_MASK & ~inside) | (gva & inside)
        return MAPPED
    gpa = (entry & x86.FRAME32_MASK) + (gva >> 12 & 1023) * 4
    if not is_tracked(t, gpa):
        return UNKNOWN_TABLE
    entry = known_entry(t, gpa, 4)
    if not entry & x86.PRESENT:
        return ABSENT
    walk[RIGHTS] &= entry
    walk[ADDRESS] = (entry & x86.FRAME32_MASK) | (gva & 0xFFF)
    return MAPPED


@kernel
def may(c: Checked, cpu: int, flags: int) -> bool:
    """Do the rights of the latest walk allow the access (SDM 4.6)? SMAP and keys are not asked."""
    rights = c.walk[RIGHTS]
    user = flags & FLAG_USER
    if user and not rights & x86.USER:
        return False
    if c.registers[cpu + CR0] & x86.CR0_PG == 0:
        return True
    if flags & FLAG_WRITE and not rights & x86.WRITABLE:
        return not (user or c.registers[cpu + CR0] & x86.CR0_WP)
    if flags & FLAG_FETCH:
        if c.walk[NO_FETCH]:
            return False
        return bool(user or not rights & x86.USER or not c.registers[cpu + CR4] & CR4_SMEP)
    return True


@kernel
def keep(
    c: Checked, event: int, vcpu: int, of: int, flags: int, gva: int, seen: int, end: int
) -> None:
    """Remember one of the first witnesses that do not agree."""
    row = c.counts[KEPT]
    if row == FIRST_ROWS:
        return
    c.counts[KEPT] = row + 1
    at = row * FIRST_WORDS
    c.first[at + FIRST_EVENT] = event
    c.first[at + FIRST_VCPU] = vcpu
    c.first[at + FIRST_CLASS] = of
    c.first[at + FIRST_FLAGS] = flags
    c.first[at + FIRST_GVA] = gva
    c.first[at + FIRST_SEEN] = seen
    c.first[at + FIRST_END] = end
    c.first[at + FIRST_TOLD] = c.walk[ADDRESS]


@kernel
def check_access(
    t: Lowering, c: Checked, event: int, vcpu: int, flags: int, gva: int, gpa: int
) -> None:
    """Was the address that the guest reached the one its tables give, and was it allowed to?"""
    if flags & FLAG_NOGPA:
        c.counts[NO_WITNESS] += 1
        return
    of = FETCH if flags & FLAG_FETCH else (WRITE if flags & FLAG_WRITE else READ)
    cpu = vcpu * REGISTER_WORDS
    c.counts[of] += 1
    end = walk_tables(t, c, cpu, gva)
    if end == MAPPED and c.walk[ADDRESS] == gpa and may(c, cpu, flags):
        c.counts[AGREED + of] += 1
    else:
        keep(c, event, vcpu, of, flags, gva, gpa, end)


@kernel
def check_fault(
    t: Lowering, c: Checked, event: int, vcpu: int, flags: int, gva: int, code: int
) -> None:
    """Do the tables give the #PF that the guest took?"""
    cpu = vcpu * REGISTER_WORDS
    end = walk_tables(t, c, cpu, gva)
    if code & (PF_KEY | x86.PF_RSVD):
        c.counts[UNJUDGED] += 1
        return
    agrees = end == ABSENT
    if code & x86.PF_PRESENT:
        agrees = end == MAPPED and not may(c, cpu, flags)
        is_kernels = not flags & (FLAG_USER | FLAG_FETCH) and c.walk[RIGHTS] & x86.USER
        if end == MAPPED and not agrees and is_kernels and c.registers[cpu + CR4] & CR4_SMAP:
            c.counts[UNJUDGED] += 1
            return
    c.counts[FAULT] += 1
    if agrees:
        c.counts[AGREED + FAULT] += 1
    else:
        keep(c, event, vcpu, FAULT, flags, gva, code, end)


@kernel
def take_store(t: Lowering, c: Checked, aux: int, gpa: int, value: int) -> None:
    """A store to a table that the trace holds."""
    c.counts[STORES] += 1
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    size = 1 << (aux & 15)
    if frame < 0 or not t.tracked[frame] or size > 8:
        c.counts[STORES_ASTRAY] += 1
        return
    index = (gpa >> 3) & 511
    set_known_word(t, frame, index, merged_word(known_word(t, frame, index), gpa, size, value))


@kernel
def begin_page(t: Lowering, c: Checked, gpa: int) -> None:
    """A page becomes tracked: nothing of it is known but the entries that follow."""
    gfn = gpa >> x86.PAGE_SHIFT
    frame = frame_number(t, gfn)
    c.page[0] = -1
    if frame < 0:
        return
    t.tracked[frame] = 1
    c.page[0] = gfn
    page = t.pages[frame]
    for i in range(PAGE_WORDS if page else 0):
        t.memory[page + i] = 0


@kernel
def take_register(c: Checked, vcpu: int, number: int, value: int) -> None:
    """CR0, CR3 or CR4."""
    cpu = vcpu * REGISTER_WORDS
    if number == 0:
        c.registers[cpu + CR0] = value
    elif number == 3:
        c.registers[cpu + CR3] = value
    elif number == 4:
        c.registers[cpu + CR4] = value


@door
def check_events(
    t: Lowering,
    c: Checked,
    kind: Any,
    vcpu: Any,
    flags: Any,
    aux: Any,
    a: Any,
    b: Any,
    first_event: int,
    start: int,
) -> int:
    """Take the events of a block from ``start`` on; the first not taken, where memory ran out.

    The reader has checked vCPU numbers, kinds and levels; addresses are looked up in the slots.
    """
    memory_words = len(t.memory)
    t, c = bare(t), bare(c)
    for i in range(start, len(kind)):
        if memory_words - t.state[MEMORY_NEXT] < 2 * PAGE_WORDS:
            return i
        if kind[i] == ACCESS:
            check_access(t, c, first_event + i, vcpu[i], flags[i], a[i], b[i])
        elif kind[i] == TABLE_STORE:
            take_store(t, c, aux[i], a[i], b[i])
        elif kind[i] == TABLE_SNAPSHOT:
            begin_page(t, c, a[i])
        elif kind[i] == TABLE_ENTRY:
            if c.page[0] == a[i] >> x86.PAGE_SHIFT:
                frame = frame_number(t, a[i] >> x86.PAGE_SHIFT)
                set_known_word(t, frame, (a[i] >> 3) & 511, b[i])
        elif kind[i] == CR:
            take_register(c, vcpu[i], aux[i], a[i])
        elif kind[i] == MSR:
            c.registers[vcpu[i] * REGISTER_WORDS + EFER] = b[i]
        elif kind[i] == PAGE_FAULT:
            check_fault(t, c, first_event + i, vcpu[i], flags[i], a[i], b[i])
        elif kind[i] == TABLE_DROP:
            frame = frame_number(t, a[i] >> x86.PAGE_SHIFT)
            if frame >= 0:
                t.tracked[frame] = 0
    return len(kind)


@kernel
def touch(w: Touched, frame: int, now: int) -> None:
    """Count a frame in the slice of each level in which it was not touched yet."""
    level = w.level[0]
    while now >> level >> SLICE_BITS:  # one iteration per level, at most 58 in a trace
        level += 1
    w.level[0] = level
    before = w.last[frame] - 1
    w.last[frame] = now + 1
    while level < LEVELS:  # at most 58 iterations
        place = now >> level
        if before >= 0 and before >> level == place:
            return
        w.counts[(level << SLICE_BITS) + place] += 1
        level += 1


@door
def count_frames(t: Lowering, w: Touched, kind: Any, flags: Any, b: Any, times: Any) -> None:
    """Count the frames that the accesses of a block reach, each at its time."""
    t, w = bare(t), bare(w)
    for i in range(len(kind)):
        if kind[i] != ACCESS or flags[i] & FLAG_NOGPA:
            continue
        frame = frame_number(t, b[i] >> x86.PAGE_SHIFT)
        if frame >= 0:
            touch(w, frame, times[i])

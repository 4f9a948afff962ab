"""From what a capture recorded to what the simulated host executes.

The capture's access filter, page-table tracking and instruction stream are not
operations. These rules make operations of them (``docs/TRACE_FORMAT.md`` lists what
each event carries): accesses become loads, fetches and stores; table stores become
stores through a mapping the guest has, or direct changes of memory when it has none;
a page that becomes tracked is brought up to date with stores; control registers
start a vCPU or are written. The rules read only the trace, so every variant executes
the same operations.

A *model* of guest memory is kept: what the tables contain as far as the trace told,
without the A and D bits a processor would have set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.mmu import layout as x86
from refault.mmu import operations as op
from refault.mmu.guest import merged_word
from refault.mmu.jit import door, kernel
from refault.trace import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.trace import MemorySlot

ACCESS = int(EventKind.ACCESS)
TABLE_STORE = int(EventKind.TABLE_STORE)
CR = int(EventKind.CR)
MSR = int(EventKind.MSR)
INVLPG = int(EventKind.INVLPG)
PAGE_FAULT = int(EventKind.PAGE_FAULT)
TABLE_SNAPSHOT = int(EventKind.TABLE_SNAPSHOT)
TABLE_ENTRY = int(EventKind.TABLE_ENTRY)
TABLE_DROP = int(EventKind.TABLE_DROP)
MARK = int(EventKind.MARK)
INVPCID = int(EventKind.INVPCID)

FLAG_WRITE = 1
FLAG_FETCH = 2
FLAG_USER = 4
FLAG_IO = 8
FLAG_NOGPA = 16
FLAG_INIT = 32

# Where a 4-level Linux guest maps all of memory, and its own image (Documentation/x86/x86_64/mm.rst).
DIRECT_MAP = -0x7780_0000_0000
IMAGE_MAP = -0x8000_0000
CR3_KEPT = 0x000F_FFFF_FFFF_F018  # no PCID, no keep-TLB bit
CR4_KEPT = 0x07FF | 0x2000  # what a 2.6.34 host lets a guest set
MSR_EFER = 0xC000_0080

# state[]
AT_START = 0  # 1 until the guest has done anything
ROW_COUNT = 1  # rows written in this call
HELD = 2  # a table store waits for the snapshots right behind it
HELD_VCPU = 3
HELD_GPA = 4
HELD_SIZE = 5
HELD_VALUE = 6
HELD_EVENT = 7
SNAP_VCPU = 8
SNAP_GFN = 9
SNAP_LEFT = 10  # entries still to come
SNAP_EVENT = 11
MEMORY_NEXT = 12
FRAME_COUNT = 13
SLOT_COUNT = 14
BOOT_CR0 = 15
BOOT_CR3 = 16
SKIPPED = 20  # events that became no operation though they should, by reason
SKIP_IO = 0
SKIP_NOT_BOOTED = 1
SKIP_STORE_TO_TABLE = 2  # not lost: the table store beside it carries it
SKIP_STORE_UNKNOWN = 3
SKIP_WOULD_HIT_TABLE = 4
SKIP_OUTSIDE_MEMORY = 5
SKIP_UNSUPPORTED = 6
SKIP_REASONS = (
    "device",
    "vcpu-not-booted",
    "store-carried-by-table-store",
    "store-without-address",
    "store-would-damage-table",
    "outside-memory",
    "unsupported",
)
SLOT_TABLE = 32  # base, pages, first frame number of each
SLOT_TABLE_WORDS = 3
VCPU_TABLE = SLOT_TABLE + SLOT_TABLE_WORDS * x86.SLOTS_MAX
VCPU_TABLE_WORDS = 5  # cr0 cr3 cr4 efer up
STATE_WORDS = VCPU_TABLE + VCPU_TABLE_WORDS * x86.CPUS_MAX

ROWS_PER_EVENT = x86.ENTRIES + 2
PAGES_PER_EVENT = 4


class Lowering(NamedTuple):
    """State between two calls. Frames are numbered across all slots."""

    state: Any
    image: Any  # the page of the snapshot under way
    pages: Any  # per frame: offset of its content in memory, 0: all zero
    tracked: Any  # per frame: 1 while it is a page table
    last_store: Any  # per vCPU and frame: 1 | virtual page of the latest store seen to it
    memory: Any


def create(slots: Sequence[MemorySlot], vcpu_count: int, *, interpreted: bool) -> Lowering:
    """The state before the first event of a trace."""
    frames = sum(slot.page_count for slot in slots)

    def words(count: int) -> Any:  # noqa: ANN401 - an array or a list
        return [0] * count if interpreted else np.zeros(count, np.int64)

    lowering = Lowering(
        state=words(STATE_WORDS),
        image=words(x86.ENTRIES),
        pages=words(frames + 1),
        tracked=words(frames + 1),
        last_store=words(max(1, frames * vcpu_count)),
        memory=words(256 * x86.ENTRIES),
    )
    state = lowering.state
    state[AT_START] = 1
    state[MEMORY_NEXT] = x86.ENTRIES
    state[FRAME_COUNT] = frames
    state[SLOT_COUNT] = len(slots)
    first = 0
    for i, slot in enumerate(slots):
        place = SLOT_TABLE + i * SLOT_TABLE_WORDS
        state[place : place + 3] = [slot.base_gfn, slot.page_count, first]
        first += slot.page_count
    return lowering


def reserve(lowering: Lowering) -> Lowering:
    """The same state with room in ``memory`` for some more pages."""
    if has_memory(lowering):
        return lowering
    old = lowering.memory
    if isinstance(old, list):
        return lowering._replace(memory=old + [0] * len(old))
    return lowering._replace(memory=np.concatenate((old, np.zeros_like(old))))


def has_memory(lowering: Lowering) -> bool:
    """Is there room in ``memory`` for the next event?"""
    left = len(lowering.memory) - int(lowering.state[MEMORY_NEXT])
    return left >= PAGES_PER_EVENT * x86.ENTRIES


@kernel
def frame_number(t: Lowering, gfn: int) -> int:
    """Number of a guest frame across all slots, or -1 outside memory."""
    for i in range(t.state[SLOT_COUNT]):
        place = SLOT_TABLE + i * SLOT_TABLE_WORDS
        base = t.state[place]
        if base <= gfn < base + t.state[place + 1]:
            return t.state[place + 2] + gfn - base
    return -1


@kernel
def model_word(t: Lowering, frame: int, index: int) -> int:
    return t.memory[t.pages[frame] + index]


@kernel
def set_model_word(t: Lowering, frame: int, index: int, value: int) -> None:
    page = t.pages[frame]
    if page == 0:
        if value == 0:
            return
        page = t.state[MEMORY_NEXT]
        t.state[MEMORY_NEXT] = page + x86.ENTRIES
        t.pages[frame] = page
    t.memory[page + index] = value


@kernel
def model_walk(t: Lowering, vcpu: int, gva: int, user: int) -> int:
    """Address of a writable mapping of ``gva`` in the model, or -1."""
    top = gva >> 47
    if top != 0 and top != -1:
        return -1
    need = x86.PRESENT | x86.WRITABLE
    if user:
        need |= x86.USER
    gpte = t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 1]
    level = x86.LONG_LEVELS
    while True:
        frame = frame_number(t, (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT)
        if frame < 0:
            return -1
        gpte = model_word(t, frame, (gva >> (3 + 9 * level)) & 511)
        if gpte & need != need:
            return -1
        if level == 1 or (gpte & x86.LARGE and level <= 3):
            inside = (1 << (3 + 9 * level)) - 1
            return (gpte & x86.FRAME_MASK & ~inside) | (gva & inside)
        level -= 1


@kernel
def mapping_for_store(t: Lowering, vcpu: int, gpa: int) -> int:
    """An address the kernel of this vCPU can store to ``gpa`` through; 1 (never one) if there is none."""
    if not t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4]:
        return 1
    if model_walk(t, vcpu, DIRECT_MAP + gpa, 0) == gpa:
        return DIRECT_MAP + gpa
    if gpa < -IMAGE_MAP and model_walk(t, vcpu, IMAGE_MAP + gpa, 0) == gpa:
        return IMAGE_MAP + gpa
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    page = t.last_store[vcpu * t.state[FRAME_COUNT] + frame]
    if page:
        gva = (page & ~1) | (gpa & 0xFFF)
        if model_walk(t, vcpu, gva, 0) == gpa:
            return gva
    return 1


@kernel
def emit(
    t: Lowering, ops: op.Operations, event: int, kind: int, vcpu: int, user: int, a: int, b: int
) -> int:
    """Append a row without a witness; answers its place."""
    row = t.state[ROW_COUNT]
    t.state[ROW_COUNT] = row + 1
    ops.kind[row] = kind
    ops.vcpu[row] = vcpu
    ops.user[row] = user
    ops.aux[row] = 0
    ops.cls[row] = op.WITNESS_NONE
    ops.a[row] = a
    ops.b[row] = b
    ops.want[row] = 0
    ops.event[row] = event
    return row


@kernel
def store_kind(size: int) -> int:
    if size == 8:
        return op.ST
    if size == 4:
        return op.ST4
    return op.ST2 if size == 2 else op.ST1


@kernel
def emit_table_store(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, gpa: int, size: int, value: int, cls: int
) -> None:
    """A store to a page table: through a mapping of the guest's, or straight into memory."""
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    if frame < 0:
        t.state[SKIPPED + SKIP_OUTSIDE_MEMORY] += 1
        return
    gva = mapping_for_store(t, vcpu, gpa)
    index = (gpa >> 3) & 511
    word = merged_word(model_word(t, frame, index), gpa, size, value)
    if gva == 1:
        emit(t, ops, event, op.POKE, 0, 0, gpa & ~7, word)
    else:
        row = emit(t, ops, event, store_kind(size), vcpu, 0, gva, value)
        ops.cls[row] = cls
        ops.want[row] = gpa
    set_model_word(t, frame, index, word)


@kernel
def release_held(t: Lowering, ops: op.Operations) -> None:
    """Emit the table store that waited for the snapshots behind it."""
    state = t.state
    if state[HELD]:
        state[HELD] = 0
        emit_table_store(
            t, ops, state[HELD_EVENT], state[HELD_VCPU], state[HELD_GPA], state[HELD_SIZE],
            state[HELD_VALUE], op.WITNESS_TABLE_STORE,
        )


@kernel
def finish_snapshot(t: Lowering, ops: op.Operations) -> None:
    """All entries of a page that becomes tracked are known: bring memory up to date with them."""
    state = t.state
    gfn = state[SNAP_GFN]
    frame = frame_number(t, gfn)
    t.tracked[frame] = 1
    for i in range(x86.ENTRIES):
        word = t.image[i]
        if model_word(t, frame, i) == word:
            continue
        gpa = (gfn << x86.PAGE_SHIFT) | (i << 3)
        if state[AT_START]:
            emit(t, ops, state[SNAP_EVENT], op.POKE, 0, 0, gpa, word)
            set_model_word(t, frame, i, word)
        else:
            emit_table_store(
                t, ops, state[SNAP_EVENT], state[SNAP_VCPU], gpa, 8, word, op.WITNESS_SNAPSHOT
            )


@kernel
def lower_access(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, flags: int, a: int, b: int
) -> None:
    state = t.state
    state[AT_START] = 0
    known = not flags & FLAG_NOGPA
    frame = frame_number(t, b >> x86.PAGE_SHIFT) if known else -1
    if flags & FLAG_IO or (known and frame < 0):
        state[SKIPPED + SKIP_IO] += 1
        return
    if not state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4]:
        state[SKIPPED + SKIP_NOT_BOOTED] += 1
        return
    gva = a & ~7
    user = 1 if flags & FLAG_USER else 0
    kind = op.LD
    if flags & FLAG_FETCH:
        kind = op.EX
    elif flags & FLAG_WRITE:
        kind = op.ST
        if not known:
            state[SKIPPED + SKIP_STORE_UNKNOWN] += 1
            return
        t.last_store[vcpu * state[FRAME_COUNT] + frame] = (a & ~0xFFF) | 1
        if t.tracked[frame]:
            state[SKIPPED + SKIP_STORE_TO_TABLE] += 1
            return
        target = model_walk(t, vcpu, gva, user)
        if target >= 0 and target >> x86.PAGE_SHIFT != b >> x86.PAGE_SHIFT:
            hit = frame_number(t, target >> x86.PAGE_SHIFT)
            if hit >= 0 and t.tracked[hit]:
                state[SKIPPED + SKIP_WOULD_HIT_TABLE] += 1
                return
        set_model_word(t, frame, (b >> 3) & 511, 0)
    row = emit(t, ops, event, kind, vcpu, user, gva, 0)
    if known:
        ops.cls[row] = op.WITNESS_ACCESS
        ops.want[row] = b & ~7


@kernel
def lower_fault(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, flags: int, a: int, b: int
) -> None:
    t.state[AT_START] = 0
    if not t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4]:
        return
    gva = a & ~7
    user = 1 if flags & FLAG_USER else 0
    kind = op.LD
    if flags & FLAG_FETCH:
        kind = op.EX
    elif flags & FLAG_WRITE:
        kind = op.ST
        target = model_walk(t, vcpu, gva, user)
        hit = frame_number(t, target >> x86.PAGE_SHIFT) if target >= 0 else -1
        if hit >= 0 and t.tracked[hit]:
            t.state[SKIPPED + SKIP_WOULD_HIT_TABLE] += 1
            return
    row = emit(t, ops, event, kind, vcpu, user, gva, 0)
    ops.cls[row] = op.WITNESS_FAULT
    ops.want[row] = b & 31


@kernel
def emit_boot(t: Lowering, ops: op.Operations, event: int, vcpu: int) -> None:
    cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
    t.state[cpu + 4] = 1
    efer = t.state[cpu + 3]
    if efer & x86.EFER_LME:
        efer |= x86.EFER_LMA
    cr4 = t.state[cpu + 2]
    row = emit(t, ops, event, op.BOOT, vcpu, 0, t.state[cpu] | cr4 << 32, t.state[cpu + 1])
    ops.want[row] = efer


@kernel
def lower_register(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, flags: int, number: int, value: int
) -> None:
    """CR0, CR3 or CR4. A vCPU starts at its initial CR3, or at the CR0 write that turns paging on."""
    state = t.state
    cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
    initial = flags & FLAG_INIT
    if not initial:
        state[AT_START] = 0
    kind = op.SET_CR0
    if number == 0:
        state[cpu] = value & 0xFFFF_FFFF
    elif number == 3:
        kind = op.SET_CR3
        value &= CR3_KEPT
        state[cpu + 1] = value
    elif number == 4:
        kind = op.SET_CR4
        value &= CR4_KEPT
        state[cpu + 2] = value
    else:
        return
    if state[cpu + 4]:
        emit(t, ops, event, kind, vcpu, 0, value, 0)
    elif state[cpu] & x86.CR0_PG and number == (3 if initial else 0):
        emit_boot(t, ops, event, vcpu)


@kernel
def lower_operation(
    t: Lowering, ops: op.Operations, event: int, kind: int, vcpu: int, flags: int, aux: int,
    a: int, b: int,
) -> None:
    """An event that is an operation already."""
    if kind == op.BOOT_CR:
        t.state[BOOT_CR0] = a & 0xFFFF_FFFF
        t.state[BOOT_CR3] = b
        return
    user = 1 if flags & FLAG_USER else 0
    if kind == op.MEM:
        user = flags & 3
    row = emit(t, ops, event, kind, vcpu, user, a, b)
    ops.aux[row] = aux
    ops.cls[row] = op.WITNESS_UNSEEN
    if kind == op.BOOT:
        ops.a[row] = t.state[BOOT_CR0] | (a & 0xFFFF_FFFF) << 32
        ops.b[row] = t.state[BOOT_CR3]
        ops.want[row] = b


@kernel
def lower_event(
    t: Lowering, ops: op.Operations, event: int, kind: int, vcpu: int, flags: int, aux: int,
    a: int, b: int,
) -> None:
    """Any event but those of a snapshot."""
    state = t.state
    if kind == ACCESS:
        lower_access(t, ops, event, vcpu, flags, a, b)
    elif kind == TABLE_STORE:
        state[AT_START] = 0
        size = 1 << (aux & 15)
        if size > 8 or a & (size - 1) or frame_number(t, a >> x86.PAGE_SHIFT) < 0:
            state[SKIPPED + SKIP_OUTSIDE_MEMORY] += 1
            return
        state[HELD] = 1
        state[HELD_VCPU] = vcpu
        state[HELD_GPA] = a
        state[HELD_SIZE] = size
        state[HELD_VALUE] = b
        state[HELD_EVENT] = event
    elif kind == CR:
        lower_register(t, ops, event, vcpu, flags, aux, a)
    elif kind == MSR and a == MSR_EFER:
        if not flags & FLAG_INIT:
            state[AT_START] = 0
        cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
        state[cpu + 3] = b
        if state[cpu + 4]:
            emit(t, ops, event, op.SET_EFER, vcpu, 0, b, 0)
    elif kind == INVLPG:
        state[AT_START] = 0
        if state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4]:
            emit(t, ops, event, op.INVLPG, vcpu, 0, a, 0)
    elif kind == PAGE_FAULT:
        lower_fault(t, ops, event, vcpu, flags, a, b)
    elif kind == TABLE_DROP:
        frame = frame_number(t, a >> x86.PAGE_SHIFT)
        if frame >= 0:
            t.tracked[frame] = 0
    elif kind == MARK:
        emit(t, ops, event, op.NOTE, 0, 0, a, 0)
    elif kind == INVPCID:
        state[SKIPPED + SKIP_UNSUPPORTED] += 1
    elif kind >= op.VM:
        lower_operation(t, ops, event, kind, vcpu, flags, aux, a, b)


@door
def lower(
    t: Lowering, kind: Any, vcpu: Any, flags: Any, aux: Any, a: Any, b: Any,  # noqa: ANN401
    first_event: int, start: int, ops: op.Operations, capacity: int,
) -> int:
    """Turn the events of one block from ``start`` on into rows 0.. of ``ops``.

    Answers the first event not taken: the end of the block, or where rows or model
    memory ran out. The number of rows is in ``state[ROW_COUNT]``. The validator has
    made sure that every vCPU number is below the header's count.
    """
    state = t.state
    state[ROW_COUNT] = 0
    for i in range(start, len(kind)):
        room = len(t.memory) - state[MEMORY_NEXT] >= PAGES_PER_EVENT * x86.ENTRIES
        if capacity - state[ROW_COUNT] < ROWS_PER_EVENT or not room:
            return i
        if kind[i] == TABLE_SNAPSHOT:
            state[SNAP_VCPU] = vcpu[i]
            state[SNAP_GFN] = a[i] >> x86.PAGE_SHIFT
            state[SNAP_LEFT] = b[i]
            state[SNAP_EVENT] = first_event + i
            for j in range(x86.ENTRIES):
                t.image[j] = 0
            if frame_number(t, state[SNAP_GFN]) < 0:
                state[SKIPPED + SKIP_OUTSIDE_MEMORY] += 1
                state[SNAP_LEFT] = 0
            elif b[i] == 0:
                finish_snapshot(t, ops)
        elif kind[i] == TABLE_ENTRY:
            if state[SNAP_LEFT]:
                t.image[(a[i] >> 3) & 511] = b[i]
                state[SNAP_LEFT] -= 1
                if state[SNAP_LEFT] == 0:
                    finish_snapshot(t, ops)
        else:
            release_held(t, ops)
            lower_event(
                t, ops, first_event + i, kind[i], vcpu[i], flags[i], aux[i], a[i], b[i]
            )
    return len(kind)


@door
def lower_end(t: Lowering, ops: op.Operations) -> int:
    """After the last event: emit a table store still held; answers the number of rows (0 or 1)."""
    t.state[ROW_COUNT] = 0
    release_held(t, ops)
    return t.state[ROW_COUNT]

"""Lowers the events of a trace to the operations that a simulated host executes.

The capture's access filter, page-table tracking and instruction stream are not
operations. These rules turn them into operations (``docs/TRACE_FORMAT.md`` lists what
each event carries): accesses become loads, fetches and stores; table stores become
stores through a mapping the guest has, or direct changes of memory when it has none;
a page that becomes tracked is brought up to date with stores; control registers
start a vCPU or are written. The rules read only the trace, so every variant executes
the same operations.

The content of memory is tracked in :mod:`refault.replay.lowering.known_memory`.
"""

from __future__ import annotations

from typing import Any

from refault.replay import operations as op
from refault.replay import x86
from refault.replay.compile.jit import bare, door, inlined, kernel
from refault.replay.lowering.known_memory import (
    APPLIED_INVPCID,
    AT_START,
    BOOT_CR0,
    BOOT_CR3,
    CR4_MORE,
    FRAME_COUNT,
    HELD,
    HELD_EVENT,
    HELD_GPA,
    HELD_SIZE,
    HELD_VALUE,
    HELD_VCPU,
    MEMORY_NEXT,
    PAGES_PER_EVENT,
    ROW_COUNT,
    ROWS_PER_EVENT,
    SKIP_IO,
    SKIP_NOT_BOOTED,
    SKIP_OUTSIDE_MEMORY,
    SKIP_STORE_TO_TABLE,
    SKIP_STORE_UNKNOWN,
    SKIP_UNSUPPORTED,
    SKIP_WOULD_HIT_TABLE,
    SKIPPED,
    SNAP_EVENT,
    SNAP_GFN,
    SNAP_LEFT,
    SNAP_VCPU,
    VCPU_TABLE,
    VCPU_TABLE_WORDS,
    Lowering,
    frame_number,
    known_walk,
    set_known_word,
)
from refault.replay.lowering.table_stores import emit, finish_table_snapshot, release_held
from refault.trace import EventKind

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

CR3_KEPT = 0x000F_FFFF_FFFF_F018  # no PCID, no keep-TLB bit
CR3_KEPT_32 = 0xFFFF_FFF8  # outside long mode: under PAE bits 5 to 11 are of the address
CR4_KEPT = 0x07FF | 0x2000  # what a 2.6.34 host lets a guest set
CR4_SMEP = 1 << 20
CR4_SMAP = 1 << 21
PF_KEY = 1 << 5  # of an error code: refused by a protection key
MSR_EFER = 0xC000_0080


@inlined
def is_plain(t: Lowering, vcpu: int, flags: int, gpa: int) -> bool:
    """Is an access a load or fetch at a known address in memory, and no table store held?"""
    return (
        not flags & (FLAG_WRITE | FLAG_IO | FLAG_NOGPA)
        and not t.state[HELD]
        and t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4] != 0
        and frame_number(t, gpa >> x86.PAGE_SHIFT) >= 0
    )


@kernel
def lower_access(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, flags: int, a: int, b: int
) -> None:
    """A load, store or fetch; stores to page tables are left to their TABLE_STORE events."""
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
        target = known_walk(t, vcpu, gva, user)
        if target >= 0 and target >> x86.PAGE_SHIFT != b >> x86.PAGE_SHIFT:
            hit = frame_number(t, target >> x86.PAGE_SHIFT)
            if hit >= 0 and t.tracked[hit]:
                state[SKIPPED + SKIP_WOULD_HIT_TABLE] += 1
                return
        set_known_word(t, frame, (b >> 3) & 511, 0)
    row = emit(t, ops, event, kind, vcpu, user, gva, 0)
    if known:
        ops.cls[row] = op.WITNESS_ACCESS
        ops.want[row] = b & ~7


@kernel
def needs_later_processor(t: Lowering, vcpu: int, code: int) -> bool:
    """May only SMEP, SMAP or a protection key have caused this fault? No host here has them."""
    if code & PF_KEY:
        return True
    if code & (x86.PF_PRESENT | x86.PF_USER | x86.PF_RSVD) != x86.PF_PRESENT:
        return False
    guard = CR4_SMEP if code & x86.PF_FETCH else CR4_SMAP
    return t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 5] & guard != 0


@kernel
def lower_fault(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, flags: int, a: int, b: int
) -> None:
    """An access for which the real guest took a #PF, as the simulated one must."""
    t.state[AT_START] = 0
    if not t.state[VCPU_TABLE + vcpu * VCPU_TABLE_WORDS + 4]:
        t.state[SKIPPED + SKIP_NOT_BOOTED] += 1
        return
    if needs_later_processor(t, vcpu, b):
        t.state[SKIPPED + SKIP_UNSUPPORTED] += 1
        return
    gva = a & ~7
    user = 1 if flags & FLAG_USER else 0
    kind = op.LD
    if flags & FLAG_FETCH:
        kind = op.EX
    elif flags & FLAG_WRITE:
        kind = op.ST
        target = known_walk(t, vcpu, gva, user)
        hit = frame_number(t, target >> x86.PAGE_SHIFT) if target >= 0 else -1
        if hit >= 0 and t.tracked[hit]:
            t.state[SKIPPED + SKIP_WOULD_HIT_TABLE] += 1
            return
    row = emit(t, ops, event, kind, vcpu, user, gva, 0)
    ops.cls[row] = op.WITNESS_FAULT
    ops.want[row] = b & 31


@kernel
def emit_boot(t: Lowering, ops: op.Operations, event: int, vcpu: int) -> None:
    """Start a vCPU with the registers seen so far."""
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
    """CR0, CR3 or CR4.

    A vCPU starts at its initial CR3, or at the CR0 write that turns paging on.
    """
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
        value &= CR3_KEPT if state[cpu + 3] & x86.EFER_LME else CR3_KEPT_32
        state[cpu + 1] = value
    elif number == 4:
        kind = op.SET_CR4
        state[cpu + 5] = value
        value &= CR4_KEPT | state[CR4_MORE]
        state[cpu + 2] = value
    else:
        return
    if state[cpu + 4]:
        emit(t, ops, event, kind, vcpu, 0, value, 0)
    elif state[cpu] & x86.CR0_PG and number == (3 if initial else 0):
        emit_boot(t, ops, event, vcpu)


@kernel
def lower_invpcid(
    t: Lowering, ops: op.Operations, event: int, vcpu: int, kind: int, a: int
) -> None:
    """What a guest without INVPCID does: INVLPG for one address (type 0), else a reload of CR3.

    Either drops at least as much, so no translation is left that the real guest had dropped.
    """
    cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
    t.state[AT_START] = 0
    if not t.state[cpu + 4]:
        return
    t.state[SKIPPED + APPLIED_INVPCID] += 1
    if kind == 0:
        emit(t, ops, event, op.INVLPG, vcpu, 0, a, 0)
    else:
        emit(t, ops, event, op.SET_CR3, vcpu, 0, t.state[cpu + 1], 0)


@kernel
def lower_operation(
    t: Lowering,
    ops: op.Operations,
    event: int,
    kind: int,
    vcpu: int,
    flags: int,
    aux: int,
    a: int,
    b: int,
) -> None:
    """An event that is already an operation."""
    if kind == op.BOOT_CR or kind == op.SREGS_CR:
        t.state[BOOT_CR0] = a & 0xFFFF_FFFF
        t.state[BOOT_CR3] = b
        return
    user = 1 if flags & FLAG_USER else 0
    if kind == op.MEM:
        user = flags & 3
    row = emit(t, ops, event, kind, vcpu, user, a, b)
    ops.aux[row] = aux
    ops.cls[row] = op.WITNESS_UNSEEN
    if kind == op.BOOT or kind == op.SREGS:
        ops.a[row] = t.state[BOOT_CR0] | (a & 0xFFFF_FFFF) << 32
        ops.b[row] = t.state[BOOT_CR3]
        ops.want[row] = b


@kernel
def lower_event(
    t: Lowering,
    ops: op.Operations,
    event: int,
    kind: int,
    vcpu: int,
    flags: int,
    aux: int,
    a: int,
    b: int,
) -> None:
    """Any event except those of a table snapshot."""
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
        lower_invpcid(t, ops, event, vcpu, aux, a)
    elif kind >= op.VM:
        lower_operation(t, ops, event, kind, vcpu, flags, aux, a, b)


@door
def lower(
    t: Lowering,
    kind: Any,
    vcpu: Any,
    flags: Any,
    aux: Any,
    a: Any,
    b: Any,
    first_event: int,
    start: int,
    ops: op.Operations,
    capacity: int,
) -> int:
    """Turn the events of one block from ``start`` on into rows 0.. of ``ops``.

    Answers the first event not taken: the end of the block, where rows or ``memory`` ran
    out, or after as many events as there may be rows, which bounds the time of a call.
    The number of rows is in ``state[ROW_COUNT]``. The reader has checked that every vCPU
    number is below the header's count.
    """
    memory_words = len(t.memory)
    t, ops = bare(t), bare(ops)
    state = t.state
    state[ROW_COUNT] = 0
    end = min(len(kind), start + capacity)
    for i in range(start, end):
        room = memory_words - state[MEMORY_NEXT] >= PAGES_PER_EVENT * x86.ENTRIES
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
                finish_table_snapshot(t, ops)
        elif kind[i] == TABLE_ENTRY:
            if state[SNAP_LEFT]:
                t.image[(a[i] >> 3) & 511] = b[i]
                state[SNAP_LEFT] -= 1
                if state[SNAP_LEFT] == 0:
                    finish_table_snapshot(t, ops)
        elif kind[i] == ACCESS and is_plain(t, vcpu[i], flags[i], b[i]):
            state[AT_START] = 0
            fetches = flags[i] & FLAG_FETCH
            user = 1 if flags[i] & FLAG_USER else 0
            event = first_event + i
            row = emit(t, ops, event, op.EX if fetches else op.LD, vcpu[i], user, a[i] & ~7, 0)
            ops.cls[row] = op.WITNESS_ACCESS
            ops.want[row] = b[i] & ~7
        else:
            release_held(t, ops)
            lower_event(t, ops, first_event + i, kind[i], vcpu[i], flags[i], aux[i], a[i], b[i])
    return end


@door
def lower_end(t: Lowering, ops: op.Operations) -> int:
    """After the last event: emit a table store still held; answers the number of rows (0 or 1)."""
    t, ops = bare(t), bare(ops)
    t.state[ROW_COUNT] = 0
    release_held(t, ops)
    return t.state[ROW_COUNT]

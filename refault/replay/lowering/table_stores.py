"""Emits rows of operations, and the stores that keep page tables as the real guest had them."""

from __future__ import annotations

from refault.replay import operations as op
from refault.replay import x86
from refault.replay.compile.jit import inlined, kernel
from refault.replay.lowering.known_memory import (
    APPLIED_UNMAPPED,
    AT_START,
    HELD,
    HELD_EVENT,
    HELD_GPA,
    HELD_SIZE,
    HELD_VALUE,
    HELD_VCPU,
    ROW_COUNT,
    SKIP_OUTSIDE_MEMORY,
    SKIPPED,
    SNAP_EVENT,
    SNAP_GFN,
    SNAP_VCPU,
    Lowering,
    frame_number,
    known_word,
    mapping_for_store,
    set_known_word,
)
from refault.replay.memory import merged_word


@inlined
def emit(
    t: Lowering, ops: op.Operations, event: int, kind: int, vcpu: int, user: int, a: int, b: int
) -> int:
    """Append a row without a witness; answers its index."""
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
    """The operation that stores ``size`` bytes."""
    if size == 8:
        return op.ST
    if size == 4:
        return op.ST4
    return op.ST2 if size == 2 else op.ST1


@kernel
def emit_table_store(
    t: Lowering,
    ops: op.Operations,
    event: int,
    vcpu: int,
    gpa: int,
    size: int,
    value: int,
    cls: int,
) -> None:
    """A store to a page table, through a mapping of the guest if one is known.

    Without one the store is applied at its gpa, where KVM sees it like any other. That is counted,
    because the fault and the mapping of the guest's store are missing from the counters.
    """
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    if frame < 0:
        t.state[SKIPPED + SKIP_OUTSIDE_MEMORY] += 1
        return
    gva = mapping_for_store(t, vcpu, gpa)
    index = (gpa >> 3) & 511
    word = merged_word(known_word(t, frame, index), gpa, size, value)
    if gva == 1:
        row = emit(t, ops, event, op.TABLE_WRITE, vcpu, 0, gpa, value)
        ops.aux[row] = size
        t.state[SKIPPED + APPLIED_UNMAPPED] += 1
    else:
        row = emit(t, ops, event, store_kind(size), vcpu, 0, gva, value)
        ops.cls[row] = cls
        ops.want[row] = gpa
    set_known_word(t, frame, index, word)


@kernel
def release_held(t: Lowering, ops: op.Operations) -> None:
    """Emit the table store that waited for the table snapshots after it."""
    state = t.state
    if state[HELD]:
        state[HELD] = 0
        emit_table_store(
            t,
            ops,
            state[HELD_EVENT],
            state[HELD_VCPU],
            state[HELD_GPA],
            state[HELD_SIZE],
            state[HELD_VALUE],
            op.WITNESS_TABLE_STORE,
        )


@kernel
def finish_table_snapshot(t: Lowering, ops: op.Operations) -> None:
    """Store the entries that differ, once all of a page that becomes tracked are known."""
    state = t.state
    gfn = state[SNAP_GFN]
    frame = frame_number(t, gfn)
    t.tracked[frame] = 1
    for i in range(x86.ENTRIES):
        word = t.image[i]
        if known_word(t, frame, i) == word:
            continue
        gpa = (gfn << x86.PAGE_SHIFT) | (i << 3)
        if state[AT_START]:
            emit(t, ops, state[SNAP_EVENT], op.POKE, 0, 0, gpa, word)
            set_known_word(t, frame, i, word)
        else:
            emit_table_store(
                t, ops, state[SNAP_EVENT], state[SNAP_VCPU], gpa, 8, word, op.WITNESS_SNAPSHOT
            )

"""The fast path of an access that needs nothing from the host.

Nearly every access finds its translation in the TLB or in the shadow tables, and is done
here with what the processor does and no more. For any other, :func:`quick_access` changes
nothing and answers -1, and the slow path (:mod:`refault.engines.shadow.arch.access`)
starts from the beginning. Both paths give the same result.
"""

from __future__ import annotations

from refault.engines.shadow.arch.guest import frame_of, mark_written
from refault.engines.shadow.arch.tlb import (
    FRAME_MASK,
    PAGE_OF_GVA,
    SET_WORDS,
    SETS,
    data_of,
    fill,
    frame_at,
    needed,
    page_key,
)
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.compile.jit import inlined
from refault.replay.memory import merged_word


@inlined
def quick_store(m: Machine, frame: int, gpa: int, kind: int, ops: op.Operations, i: int) -> bool:
    """Store 8, 4, 2 or 1 bytes, unless the frame would need memory first."""
    page = m.frame[frame + words.MEMORY]
    value = ops.b[i]  # read here, so that no load reads it
    if page == 0:
        if value:
            return False
        if m.vm[words.LOGGING]:
            mark_written(m, gpa >> x86.PAGE_SHIFT)
        return True
    if m.vm[words.LOGGING]:
        mark_written(m, gpa >> x86.PAGE_SHIFT)
    place = page + ((gpa >> 3) & 511)
    if kind != op.ST:
        value = merged_word(m.mem[place], gpa, 8 >> (kind - op.ST), value)
    m.mem[place] = value
    return True


@inlined
def quick_walk(m: Machine, cpu: int, gva: int, need: int) -> int:
    """The address of a walk that need not set A and is not refused, or -1.

    Leaves its level and what was granted where the hardware's walk does. An absent PAE root is
    handle 0, whose table is unused and has no present entry.
    """
    vm = m.vm
    level = x86.LONG_LEVELS
    sptep = (vm[cpu + words.ROOT] << 5) + ((gva >> 39) & 511)
    if vm[cpu + words.ROOT] == words.PAE_LOADED:
        level = words.PAE_ROOT_LEVEL
        sptep = (vm[cpu + words.PAE_ROOTS + ((gva >> 30) & 3)] << 5) + ((gva >> 21) & 511)
    granted = -1
    while True:  # one iteration per level
        spte = m.spt[sptep]
        granted &= spte ^ x86.NX
        if granted & need != need:
            return -1
        if level == 1 or spte & x86.LARGE:
            break
        sptep = ((spte & x86.FRAME_MASK) >> 7) + ((gva >> (9 * level - 6)) & 511)
        level -= 1
    vm[words.HIT_LEVEL] = level
    vm[words.HIT_GRANTED] = granted
    inside = (1 << (3 + 9 * level)) - 1
    return (spte & x86.FRAME_MASK & ~inside) | (gva & inside)


@inlined
def stays_in_guest(m: Machine, cpu: int) -> bool:
    """Has the vCPU roots, and no request that it must leave the guest for?"""
    return m.vm[cpu + words.REQUESTS] == 0 and m.vm[cpu + words.ROOT] != 0


@inlined
def tlb_prefix(m: Machine, cpu: int) -> int:
    """What the vCPU's keys of small pages have in common until it leaves the guest; 0: no TLB."""
    return m.vm[cpu + words.TLB_KEY] | page_key(0, 1) if m.vm[words.TLB] else 0


@inlined
def quick_access(m: Machine, cpu: int, prefix: int, tlb: int, ops: op.Operations, i: int) -> int:
    """The address reached by row ``i``, a load, fetch or store, or -1 for the slow path.

    ``prefix`` and ``tlb`` are the vCPU's ``tlb_prefix`` and ``tlb_of``. Counts the walk it takes,
    if any. The vCPU stays in the guest.
    """
    vm = m.vm
    kind, gva = ops.kind[i], ops.a[i]
    need = needed(kind >= op.ST, ops.user[i], kind == op.EX)
    if prefix:
        page = gva >> x86.PAGE_SHIFT
        place = tlb + (page & (SETS - 1)) * SET_WORDS
        data = data_of(m, place, prefix | (page & PAGE_OF_GVA))
        if data & need == need:
            gpa = (data & FRAME_MASK) | (gva & 0xFFF)
            if kind >= op.ST and not quick_store(m, frame_at(m, data, gpa), gpa, kind, ops, i):
                return -1
            return gpa
        if data or vm[cpu + words.TLB_SIZES] & ~2:
            return -1
    gpa = quick_walk(m, cpu, gva, need)
    if gpa < 0:
        return -1
    if kind >= op.ST:
        frame = frame_of(m, gpa >> x86.PAGE_SHIFT)
        if not quick_store(m, frame, gpa, kind, ops, i):
            return -1
    vm[words.WALKS] += 1
    if prefix:
        fill(m, cpu, gva, gpa, vm[words.HIT_LEVEL], vm[words.HIT_GRANTED])
    return gpa

"""The walk of the guest's page tables, in every paging mode (paging_tmpl.h: walk_addr).

::

    long mode   CR3 ─► level 4 ─► 3 ─► 2 ─► 1      8-byte entries, 9 bits of address per level
    PAE         cached PDPTE ─► level 2 ─► 1        8-byte entries; the PDPTE grants everything
    32-bit      CR3 ─► level 2 ─► 1                 4-byte entries, 10 bits of address per level
    non-paging  the linear address is the physical one
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_gpte, slot_of, write_gpte
from refault.engines.shadow.kvm.dirty import mark_page_dirty
from refault.engines.shadow.kvm.tracepoints import (
    PAGING_ELEMENT,
    SET_ACCESSED_BIT,
    SET_DIRTY_BIT,
    WALKER_ERROR,
    trace,
    trace_walk,
)
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def entry_size(m: Machine, cpu: int) -> int:
    """Bytes of an entry in the tables of this vCPU's mode."""
    return 4 if m.vm[cpu + words.ROOT_LEVEL] == x86.LEGACY_LEVELS else 8


@kernel
def reserved_bits(m: Machine, cpu: int, level: int, gpte: int) -> int:
    """Bits of an entry that must be zero (mmu.c: reset_rsvds_bits_mask).

    2.6.34 leaves the mask of a last-level entry with bit 7 (PAT) empty, and tests a
    32-bit directory entry with bit 7 as a 4 MiB page even where CR4.PSE is off.
    """
    vm = m.vm
    fixed = vm[words.KNOB_RESERVED_BITS] == values.RESERVED_BITS_EXACT
    large = gpte & x86.LARGE
    mode = vm[cpu + words.ROOT_LEVEL]
    if mode == x86.LEGACY_LEVELS:
        if level == 1 or not large or (fixed and not vm[cpu + words.CR4] & x86.CR4_PSE):
            return 0
        return words.RSVD_4M_36
    if level == 1 and large and not fixed:
        return 0
    mask = x86.RSVD_PHYS if mode == x86.LONG_LEVELS else x86.RSVD_PAE_PHYS
    if not vm[cpu + words.EFER] & x86.EFER_NX:
        mask |= x86.NX
    if level == 4 or (level == 3 and not large):
        mask |= x86.RSVD_7_8
    elif level == 3:
        mask |= x86.RSVD_1G
    elif level == 2 and large:
        mask |= x86.RSVD_2M
    return mask


@kernel
def gpte_access(gpte: int, nx: int) -> int:
    """ACC_* bits a guest entry grants; NX counts only while EFER.NX is set.

    A 4-byte entry is zero-extended, so it has no NX.
    """
    access = (gpte & x86.PERMISSIONS) | words.ACC_EXEC
    if nx and gpte < 0:
        access &= ~words.ACC_EXEC
    return access


@kernel
def walk_failed(m: Machine, code: int, write: int, user: int, fetch: int) -> int:
    """End a walk with the #PF code for the requested access."""
    if write:
        code |= x86.PF_WRITE
    if user:
        code |= x86.PF_USER
    if fetch:
        code |= x86.PF_FETCH
    m.vm[words.WALK_ERROR] = code
    trace(m, WALKER_ERROR, code, 0)
    return 0


@kernel
def is_leaf(m: Machine, cpu: int, level: int, gpte: int) -> bool:
    """Does a present entry map a page rather than a table?"""
    if level == 1:
        return True
    if not gpte & x86.LARGE:
        return False
    mode = m.vm[cpu + words.ROOT_LEVEL]
    if level == 2:
        return mode != x86.LEGACY_LEVELS or m.vm[cpu + words.CR4] & x86.CR4_PSE != 0
    return level == 3 and mode == x86.LONG_LEVELS


@kernel
def mapped_gfn(gva: int, gpte: int, level: int, size: int) -> int:
    """The frame a leaf maps ``gva`` to; a 4 MiB page has address bits 32..35 in bits 13..16."""
    shift = 12 + (9 if size == 8 else 10) * (level - 1)
    inside = (1 << shift) - 1
    mask = x86.FRAME_MASK if size == 8 else x86.FRAME32_MASK
    gfn = ((gpte & mask & ~inside) | (gva & inside)) >> x86.PAGE_SHIFT
    if size == 4 and level == 2:
        gfn += (gpte >> 13 & 0xF) << 20
    return gfn


@kernel
def walk_addr(
    m: Machine, cpu: int, gva: int, write: int, user: int, fetch: int, set_bits: int
) -> int:
    """Walk the guest's tables as KVM does.

    Returns 1 and fills ``WALK_*``, or 0 with the #PF code in ``WALK_ERROR``. Checks
    are made at each level as it is read, so a walk that fails deeper has already
    set A higher up. ``set_bits`` 0 leaves A and D as they are.
    """
    vm = m.vm
    level = vm[cpu + words.ROOT_LEVEL]
    if level == x86.NONPAGING:
        vm[words.WALK_GFN] = (gva & x86.U32) >> x86.PAGE_SHIFT
        vm[words.WALK_LEVEL] = 1
        return 1
    trace_walk(m, gva, write, user, fetch)
    nx = vm[cpu + words.EFER] & x86.EFER_NX
    guarded = user or vm[cpu + words.CR0] & x86.CR0_WP
    size = entry_size(m, cpu)
    bits = 9 if size == 8 else 10
    gpte = vm[cpu + words.CR3]
    if level == x86.PAE_LEVELS:
        gpte = vm[cpu + words.PDPTRS + (gva >> 30 & 3)]
        trace(m, PAGING_ELEMENT, gpte, level)
        if not gpte & x86.PRESENT:
            return walk_failed(m, 0, write, user, fetch)
        level -= 1
    pt_access = words.ACC_ALL
    while True:  # one iteration per level
        table_gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        index = gva >> (12 + bits * (level - 1)) & ((1 << bits) - 1)
        gpa = (table_gfn << x86.PAGE_SHIFT) + index * size
        vm[words.WALK_TABLE_GFNS + level - 1] = table_gfn
        vm[words.WALK_PTE_GPAS + level - 1] = gpa
        if slot_of(m, table_gfn) == 0:
            return walk_failed(m, 0, write, user, fetch)
        gpte = read_gpte(m, gpa, size)
        trace(m, PAGING_ELEMENT, gpte, level)
        if not gpte & x86.PRESENT:
            return walk_failed(m, 0, write, user, fetch)
        if gpte & reserved_bits(m, cpu, level, gpte):
            return walk_failed(m, x86.PF_PRESENT | x86.PF_RSVD, write, user, fetch)
        if (
            (write and guarded and not gpte & x86.WRITABLE)
            or (user and not gpte & x86.USER)
            or (fetch and nx and gpte < 0)
        ):
            return walk_failed(m, x86.PF_PRESENT, write, user, fetch)
        if set_bits and not gpte & x86.ACCESSED:
            trace(m, SET_ACCESSED_BIT, gpa, 0)
            gpte |= x86.ACCESSED
            write_gpte(m, gpa, size, gpte)
            mark_page_dirty(m, table_gfn)
        pte_access = pt_access & gpte_access(gpte, nx)
        vm[words.WALK_PTES + level - 1] = gpte
        if is_leaf(m, cpu, level, gpte):
            break
        pt_access = pte_access
        level -= 1
    if set_bits and write and not gpte & x86.DIRTY:
        trace(m, SET_DIRTY_BIT, gpa, 0)
        gpte |= x86.DIRTY
        write_gpte(m, gpa, size, gpte)
        mark_page_dirty(m, table_gfn)
        vm[words.WALK_PTES + level - 1] = gpte
    vm[words.WALK_GFN] = mapped_gfn(gva, gpte, level, size)
    vm[words.WALK_LEVEL] = level
    vm[words.WALK_PT_ACCESS] = pt_access
    vm[words.WALK_PTE_ACCESS] = pte_access
    return 1


@kernel
def probe(m: Machine, cpu: int, gva: int, write: int, user: int, fetch: int) -> int:
    """What a walk of the guest's tables gives now, changing nothing: the gpa, or -1 - #PF code.

    The simulated kernel does not do this walk, so it leaves no row in the event log.
    """
    events, lost = m.vm[words.EVENT_NEXT], m.vm[words.EVENTS_LOST]
    told = fetch and (m.vm[cpu + words.EFER] & x86.EFER_NX or m.vm[words.BYPASS])
    walked = walk_addr(m, cpu, gva, write, user, fetch, 0)
    m.vm[words.EVENT_NEXT], m.vm[words.EVENTS_LOST] = events, lost
    if walked:
        return (m.vm[words.WALK_GFN] << x86.PAGE_SHIFT) | (gva & 0xFFF)
    code = m.vm[words.WALK_ERROR]
    if not told:
        code &= ~x86.PF_FETCH
    return -1 - code

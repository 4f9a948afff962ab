"""Bringing unsync pages up to date with the guest's tables (mmu.c: kvm_sync_page and kin)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import frame_of, read_gpte
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.parents import quadrant_of, table_of
from refault.mmu.requests import flush_remote_tlbs, flush_tlb
from refault.mmu.rmap import is_present, rmap_remove, rmap_write_protect
from refault.mmu.spte import set_spte
from refault.mmu.tracepoints import SYNC_PAGE, trace_page
from refault.mmu.unsync import clear_parents, next_leaf, start_path, unsync_walk
from refault.mmu.walk import entry_size, gpte_access
from refault.mmu.zap import unlink_unsync_page, zap_page


@kernel
def sync_entries(m: Machine, cpu: int, sp: int) -> int:
    """Re-read every mapped entry of a page (paging_tmpl.h: sync_page); how many still map?"""
    present = 0
    nx = m.vm[cpu + x86.EFER] & x86.EFER_NX
    role_access = (m.page[sp + x86.ROLE] >> x86.ROLE_ACCESS_SHIFT) & x86.ACC_ALL
    memory = m.frame[frame_of(m, m.page[sp + x86.GFN]) + x86.MEMORY]
    table = table_of(sp)
    size = entry_size(m, cpu)
    first = m.page[sp + x86.GFN] << x86.PAGE_SHIFT
    first += quadrant_of(m, sp) << 11
    for i in range(x86.ENTRIES):
        sptep = table + i
        spte = m.spt[sptep]
        if not is_present(m, spte):
            continue
        gpte = m.mem[memory + i] if size == 8 else read_gpte(m, first + i * 4, 4)
        gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        if gfn != m.spt[sptep + x86.GFNS] or not gpte & x86.PRESENT or not gpte & x86.ACCESSED:
            rmap_remove(m, sptep)
            m.spt[sptep] = m.vm[x86.TRAP] if gpte & x86.PRESENT else m.vm[x86.NOTRAP]
            continue
        present += 1
        access = role_access & gpte_access(gpte, nx)
        host_writable = spte & x86.HOST_WRITABLE
        if not host_writable:
            access &= ~x86.ACC_WRITE
        set_spte(m, cpu, sptep, access, 0, 0, gpte & x86.DIRTY, 1, gfn, 1, 0, host_writable)
    return present


@kernel
def sync_page(m: Machine, cpu: int, sp: int, flush: int) -> int:
    """Guard a page again and update it; 1 if it had to be zapped.

    ``flush`` 0 leaves the local flush to the caller (patch 6).
    """
    if (m.page[sp + x86.ROLE] ^ m.vm[cpu + x86.BASE_ROLE]) & x86.ROLE_FORMAT_MASK:
        zap_page(m, sp)
        return 1
    if not m.vm[x86.KNOB_SYNC_TRACE]:
        trace_page(m, SYNC_PAGE, sp, 0)
    if rmap_write_protect(m, m.page[sp + x86.GFN]):
        flush_remote_tlbs(m)
    unlink_unsync_page(m, sp)
    if not m.vm[x86.KNOB_SYNC_TRACE]:
        m.vm[x86.SYNCED] += 1
    if m.vm[cpu + x86.ROOT_LEVEL] == x86.NONPAGING or sync_entries(m, cpu, sp) == 0:
        zap_page(m, sp)
        return 1
    if flush:
        flush_tlb(m)
    return 0


@kernel
def sync_children(m: Machine, cpu: int, parent: int) -> None:
    """Sync every unsync page below ``parent`` (mmu.c: mmu_sync_children)."""
    start_path(m, parent)
    while unsync_walk(m, parent):
        guarded = 0
        i = next_leaf(m, -1)
        while i < m.vm[x86.VEC_COUNT]:
            guarded |= rmap_write_protect(m, m.page[m.vm[x86.VEC_SP + i] + x86.GFN])
            i = next_leaf(m, i)
        if guarded:
            flush_remote_tlbs(m)
        i = next_leaf(m, -1)
        while i < m.vm[x86.VEC_COUNT]:
            sync_page(m, cpu, m.vm[x86.VEC_SP + i], 1)
            clear_parents(m)
            i = next_leaf(m, i)
        start_path(m, parent)


@kernel
def sync_listed(m: Machine, cpu: int) -> None:
    """Patch 6: sync every unsync page of the host, reachable or not, with one flush at the end."""
    guarded = 0
    sp = m.vm[x86.OOS_HEAD]
    while sp:
        guarded |= rmap_write_protect(m, m.page[sp + x86.GFN])
        sp = m.page[sp + x86.OOS_NEXT]
    if guarded:
        flush_remote_tlbs(m)
    survived = 0
    sp = m.vm[x86.OOS_HEAD]
    while sp:
        after = m.page[sp + x86.OOS_NEXT]
        if not sync_page(m, cpu, sp, 0):
            survived = 1
        sp = after
    if survived:
        flush_tlb(m)


@kernel
def sync_roots(m: Machine, cpu: int) -> None:
    """Sync what this vCPU's roots reach, or with ``sync_scope`` 1 everything."""
    root = m.vm[cpu + x86.ROOT]
    if root == 0:
        return
    if m.vm[x86.KNOB_SYNC_SCOPE]:
        sync_listed(m, cpu)
    elif root != x86.PAE_LOADED:
        sync_children(m, cpu, root)
    else:
        for i in range(4):
            if m.vm[cpu + x86.PAE_ROOTS + i]:
                sync_children(m, cpu, m.vm[cpu + x86.PAE_ROOTS + i])

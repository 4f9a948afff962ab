"""Brings unsync pages up to date with the guest's tables (mmu.c: kvm_sync_page and others)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import frame_of, read_gpte
from refault.engines.shadow.kvm.parents import page_of, quadrant_of, table_of
from refault.engines.shadow.kvm.requests import flush_remote_tlbs, flush_tlb
from refault.engines.shadow.kvm.rmap import eight_are, is_present, rmap_remove, rmap_write_protect
from refault.engines.shadow.kvm.spte import note_global, set_spte
from refault.engines.shadow.kvm.tracepoints import SYNC_PAGE, trace_page
from refault.engines.shadow.kvm.unsync import (
    clear_parents,
    next_leaf,
    note_synced,
    reaches,
    start_path,
    synced_at,
    unsync_walk,
)
from refault.engines.shadow.kvm.walk import entry_size, gpte_access
from refault.engines.shadow.kvm.zap import commit_zap, hash_of, unlink_unsync_page, zap_page
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel

# What sync_page() does about flushes: both at once; the local one is the caller's; both put off
FLUSH = 0
FLUSH_REMOTE = 1
COLLECT = 2


@kernel
def sync_entry(m: Machine, cpu: int, sptep: int, gpte: int, role_access: int, nx: int) -> int:
    """Bring one mapped entry up to date with the guest's; 1 if it still maps."""
    spte = m.spt[sptep]
    gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    if gfn != m.spt[sptep + words.GFNS] or not gpte & x86.PRESENT or not gpte & x86.ACCESSED:
        rmap_remove(m, sptep)
        # The guest may fill an entry of a page that stays out of sync without an exit.
        told = gpte & x86.PRESENT or m.page[page_of(sptep) + words.UNSYNC]
        m.spt[sptep] = m.vm[words.TRAP] if told else m.vm[words.NOTRAP]
        if m.vm[words.KNOB_SYNC_DROP] == values.SYNC_DROP_NOTED:
            m.vm[words.TLBS_DIRTY] += 1
        return 0
    access = role_access & gpte_access(gpte, nx)
    if m.page[page_of(sptep) + words.ALL_GLOBAL]:
        note_global(m, cpu, page_of(sptep), gpte)
    host_writable = spte & words.HOST_WRITABLE
    if not host_writable:
        access &= ~words.ACC_WRITE
    set_spte(m, cpu, sptep, access, 0, 0, gpte & x86.DIRTY, 1, gfn, 1, 0, host_writable)
    return 1


@kernel
def sync_entries(m: Machine, cpu: int, sp: int) -> int:
    """Re-read every mapped entry of a page (paging_tmpl.h: sync_page); how many still map?"""
    present = 0
    nx = m.vm[cpu + words.EFER] & x86.EFER_NX
    role_access = (m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_ALL
    memory = m.frame[frame_of(m, m.page[sp + words.GFN]) + words.MEMORY]
    table = table_of(sp)
    size = entry_size(m, cpu)
    first = m.page[sp + words.GFN] << x86.PAGE_SHIFT
    first += quadrant_of(m, sp) << 11
    trap, notrap = m.vm[words.TRAP], m.vm[words.NOTRAP]
    for eight in range(0, x86.ENTRIES, 8):
        if eight_are(m, table + eight, trap) or eight_are(m, table + eight, notrap):
            continue
        for i in range(eight, eight + 8):
            if is_present(m, m.spt[table + i]):
                gpte = m.mem[memory + i] if size == 8 else read_gpte(m, first + i * 4, 4)
                present += sync_entry(m, cpu, table + i, gpte, role_access, nx)
    return present


@kernel
def flush_guarded(m: Machine, flush: int) -> None:
    """Some mapping lost W: flush other processors, now or with the deferred flushes."""
    if flush == COLLECT:
        m.vm[words.COLLECTED] |= words.COLLECTED_REMOTE
    else:
        flush_remote_tlbs(m)


@kernel
def sync_page(m: Machine, cpu: int, sp: int, guarded: int, flush: int) -> int:
    """Protect a page's table again and update the page; 1 if it had to be zapped.

    ``guarded``: the caller has just cleared W in every mapping of its table, so that need not
    be repeated, unless a page synced in between set it again; SYNC_PROTECT_ONCE ensures that
    none does.
    """
    if (m.page[sp + words.ROLE] ^ m.vm[cpu + words.BASE_ROLE]) & words.ROLE_FORMAT_MASK:
        zap_page(m, sp)
        return 1
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_TRIED:
        trace_page(m, SYNC_PAGE, sp, 0)
    again = not guarded or m.vm[words.KNOB_SYNC_PROTECT] == values.SYNC_PROTECT_TWICE
    if again and rmap_write_protect(m, m.page[sp + words.GFN]):
        flush_guarded(m, flush)
    unlink_unsync_page(m, sp)
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_TRIED:
        m.vm[words.SYNCED] += 1
    if m.vm[cpu + words.ROOT_LEVEL] == x86.NONPAGING or sync_entries(m, cpu, sp) == 0:
        zap_page(m, sp)
        return 1
    if flush == FLUSH:
        flush_tlb(m)
    elif flush == COLLECT:
        m.vm[words.COLLECTED] |= words.COLLECTED_LOCAL
    return 0


@kernel
def sync_transiently(m: Machine, cpu: int, sp: int) -> int:
    """Update a page that stays out of sync and writable (2.6.36: kvm_sync_page_transient).

    1 if it had to be zapped.
    """
    if (
        (m.page[sp + words.ROLE] ^ m.vm[cpu + words.BASE_ROLE]) & words.ROLE_FORMAT_MASK
        or m.vm[cpu + words.ROOT_LEVEL] == x86.NONPAGING
        or sync_entries(m, cpu, sp) == 0
    ):
        zap_page(m, sp)
        commit_zap(m)
        return 1
    flush_tlb(m)
    return 0


@kernel
def sync_table(m: Machine, cpu: int, gfn: int) -> None:
    """Sync every out-of-sync page of a table that has just been protected (kvm_sync_pages)."""
    survived = 0
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        after = m.page[sp + words.HASH_NEXT]
        if m.page[sp + words.GFN] == gfn and m.page[sp + words.UNSYNC]:
            survived |= 1 - sync_page(m, cpu, sp, 1, FLUSH_REMOTE)
        sp = after
    commit_zap(m)
    if survived:
        flush_tlb(m)


@kernel
def sync_children(m: Machine, cpu: int, parent: int, flush: int) -> None:
    """Sync every unsync page below ``parent`` (mmu.c: mmu_sync_children)."""
    start_path(m, parent)
    while unsync_walk(m, parent) and goes_on(m, 1):
        guarded = 0
        i = next_leaf(m, -1)
        while i < m.vm[words.VEC_COUNT] and goes_on(m, 1):
            guarded |= rmap_write_protect(m, m.page[m.vm[words.VEC_SP + i] + words.GFN])
            i = next_leaf(m, i)
        if guarded:
            flush_guarded(m, flush)
        i = next_leaf(m, -1)
        while i < m.vm[words.VEC_COUNT] and goes_on(m, 1):
            sync_page(m, cpu, m.vm[words.VEC_SP + i], 1, flush)
            clear_parents(m)
            i = next_leaf(m, i)
        commit_zap(m)
        start_path(m, parent)


@kernel
def sync_listed(m: Machine, cpu: int, everything: int) -> None:
    """Patch 6: sync the listed unsync pages, with one local flush at the end.

    All of the host's, or only those below a root of this vCPU.
    """
    guarded = 0
    sp = m.vm[words.OOS_HEAD]
    while sp and goes_on(m, 1):
        if everything or reaches(m, cpu, sp, 0):
            guarded |= rmap_write_protect(m, m.page[sp + words.GFN])
        sp = m.page[sp + words.OOS_NEXT]
    if guarded:
        flush_remote_tlbs(m)
    survived = 0
    sp = m.vm[words.OOS_HEAD]
    while sp and goes_on(m, 1):
        after = m.page[sp + words.OOS_NEXT]
        if (everything or reaches(m, cpu, sp, 0)) and not sync_page(m, cpu, sp, 1, FLUSH_REMOTE):
            survived = 1
        sp = after
    commit_zap(m)
    if survived:
        flush_tlb(m)


@kernel
def sync_global(m: Machine, cpu: int) -> None:
    """Sync the unsync pages that loading a root does not sync (2.6.29: kvm_mmu_sync_global)."""
    sp = m.vm[words.OOS_HEAD]
    while sp and goes_on(m, 1):
        after = m.page[sp + words.OOS_NEXT]
        if m.page[sp + words.ALL_GLOBAL]:
            sync_page(m, cpu, sp, 0, FLUSH)
        sp = after
    commit_zap(m)


@kernel
def sync_below_roots(m: Machine, cpu: int, flush: int) -> None:
    """Sync the marked pages below this vCPU's roots (mmu.c: mmu_sync_roots)."""
    root = m.vm[cpu + words.ROOT]
    if root != words.PAE_LOADED:
        sync_children(m, cpu, root, flush)
        return
    for i in range(4):
        if m.vm[cpu + words.PAE_ROOTS + i]:
            sync_children(m, cpu, m.vm[cpu + words.PAE_ROOTS + i], flush)


@kernel
def sync_changed(m: Machine, cpu: int) -> None:
    """Sync what went out of sync since this vCPU's roots were last synced, where they reach it.

    Pages that went before that and are still out of sync were not reachable then; a link that
    makes one reachable moves LINK_EPOCH, after which all are looked at once more.
    """
    vm = m.vm
    now = vm[words.CHANGE_EPOCH]
    since = synced_at(m, cpu)
    if since == now:
        return
    if since < vm[words.LINK_EPOCH]:
        since = 0
    sp = vm[words.OOS_HEAD]
    while sp and m.page[sp + words.EPOCH] > since and goes_on(m, 1):
        after = m.page[sp + words.OOS_NEXT]
        if reaches(m, cpu, sp, 0):
            sync_page(m, cpu, sp, 0, FLUSH)
        sp = after
    commit_zap(m)
    note_synced(m, cpu, now)


@kernel
def sync_roots(m: Machine, cpu: int) -> None:
    """Sync what this vCPU's roots reach, or what ``sync_scope`` says instead."""
    vm = m.vm
    if vm[cpu + words.ROOT] == 0:
        return
    scope = vm[words.KNOB_SYNC_SCOPE]
    if scope == values.SYNC_SCOPE_MARKED:
        sync_below_roots(m, cpu, FLUSH)
    elif scope == values.SYNC_SCOPE_CHANGED:
        sync_changed(m, cpu)
    elif scope != values.SYNC_SCOPE_FLUSHED_ONCE:
        sync_listed(m, cpu, scope == values.SYNC_SCOPE_LISTED)
    else:
        vm[words.COLLECTED] = 0
        sync_below_roots(m, cpu, COLLECT)
        if vm[words.COLLECTED] & words.COLLECTED_REMOTE:
            flush_remote_tlbs(m)
        if vm[words.COLLECTED] & words.COLLECTED_LOCAL:
            flush_tlb(m)

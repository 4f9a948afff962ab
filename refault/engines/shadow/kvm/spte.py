"""Writing shadow leaves: permissions, write protection, going out of sync."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.dirty import mark_page_dirty
from refault.engines.shadow.kvm.parents import child_of, level_of, page_of, remove_parent, table_of
from refault.engines.shadow.kvm.requests import flush_hardware, flush_remote_tlbs
from refault.engines.shadow.kvm.rmap import (
    is_present,
    large_region,
    rmap_add,
    rmap_recycle,
    rmap_remove,
)
from refault.engines.shadow.kvm.tracepoints import UNSYNC_PAGE, trace_page
from refault.engines.shadow.kvm.unsync import mark_parents_unsync
from refault.engines.shadow.kvm.zap import hash_of, oos_push
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def mapping_level(m: Machine, gfn: int) -> int:
    """The level of the largest leaf for ``gfn``: by host page, dirty log and shadowed tables."""
    slot = slot_of(m, gfn)
    if slot == 0 or m.vm[slot + words.SLOT_LOG]:
        return 1
    level = 1
    while (  # SLOT_HOST_LEVEL is 3 at most
        level < m.vm[slot + words.SLOT_HOST_LEVEL]
        and m.frame[large_region(m, gfn, level + 1) + words.WRITE_COUNT] == 0
    ):
        level += 1
    return level


@kernel
def is_shadow_of(m: Machine, sp: int, gfn: int) -> bool:
    """Is this a valid shadow page of that guest table?"""
    return m.page[sp + words.GFN] == gfn and not m.page[sp + words.ROLE] & (
        words.ROLE_DIRECT | words.ROLE_INVALID
    )


@kernel
def lookup_page(m: Machine, gfn: int) -> int:
    """The newest valid shadow page of a guest table, or 0."""
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        if is_shadow_of(m, sp, gfn):
            return sp
        sp = m.page[sp + words.HASH_NEXT]
    return 0


@kernel
def convert_notrap(m: Machine, sp: int) -> None:
    """Let every absent entry fault to the host: the guest fills an unsync table without exits."""
    if m.vm[words.TRAP] == m.vm[words.NOTRAP]:
        return
    table = table_of(sp)
    for sptep in range(table, table + x86.ENTRIES):
        if m.spt[sptep] == m.vm[words.NOTRAP]:
            m.spt[sptep] = m.vm[words.TRAP]


@kernel
def unsync_page(m: Machine, sp: int) -> int:
    """Let the guest write this table without exits; 1 if it must stay protected.

    A table shadowed under two roles, invalid ones included, never goes out of sync. Ancestors
    of a page that maps only global entries are not marked: loading a root does not sync it.
    """
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_TRIED:
        trace_page(m, UNSYNC_PAGE, sp, 0)
    gfn = m.page[sp + words.GFN]
    role = m.page[sp + words.ROLE]
    other = m.vm[hash_of(gfn)]
    while other and goes_on(m, 1):
        if (
            m.page[other + words.GFN] == gfn
            and not m.page[other + words.ROLE] & words.ROLE_DIRECT
            and m.page[other + words.ROLE] != role
        ):
            return 1
        other = m.page[other + words.HASH_NEXT]
    if m.vm[words.KNOB_SYNC_TRACE] == values.SYNC_TRACE_DONE:
        trace_page(m, UNSYNC_PAGE, sp, 0)
    let_go(m, sp)
    return 0


@kernel
def let_go(m: Machine, sp: int) -> None:
    """A page goes out of sync: the guest may write its table without exits from now on."""
    m.vm[words.UNSYNC_PAGES] += 1
    m.page[sp + words.UNSYNC] = 1
    oos_push(m, sp)
    if not m.page[sp + words.ALL_GLOBAL]:
        mark_parents_unsync(m, sp)
    convert_notrap(m, sp)


@kernel
def all_must_be_protected(m: Machine, gfn: int, can_unsync: int) -> int:
    """As need_write_protect(), where all pages of a table go out of sync together (2.6.36).

    A page of a higher level than 1 prevents it. An invalid one does not matter.
    """
    once = m.vm[words.KNOB_SYNC_PROTECT] == values.SYNC_PROTECT_ONCE
    in_sync = 0
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        if is_shadow_of(m, sp, gfn):
            if level_of(m, sp) != 1:
                return 1
            in_sync |= 1 - m.page[sp + words.UNSYNC]
            if not can_unsync and (once or in_sync):
                return 1
        sp = m.page[sp + words.HASH_NEXT]
    sp = m.vm[hash_of(gfn)] if in_sync else 0
    while sp and goes_on(m, 1):
        if is_shadow_of(m, sp, gfn) and not m.page[sp + words.UNSYNC]:
            trace_page(m, UNSYNC_PAGE, sp, 0)
            let_go(m, sp)
        sp = m.page[sp + words.HASH_NEXT]
    return 0


@kernel
def note_global(m: Machine, cpu: int, sp: int, gpte: int) -> None:
    """Before an entry is mapped: if it is not global, its page is not all global any more."""
    if not m.page[sp + words.ALL_GLOBAL]:
        return
    if gpte & x86.GLOBAL and m.vm[cpu + words.CR4] & x86.CR4_PGE:
        return
    m.page[sp + words.ALL_GLOBAL] = 0
    if m.page[sp + words.UNSYNC]:
        mark_parents_unsync(m, sp)


@kernel
def need_write_protect(m: Machine, gfn: int, can_unsync: int) -> int:
    """Must mappings of ``gfn`` be read-only because it is a shadowed table?"""
    if m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_QUEUED:
        return 1 if lookup_page(m, gfn) else 0
    if m.vm[words.KNOB_UNSYNC_ROLES] == values.UNSYNC_ROLES_ALL:
        return all_must_be_protected(m, gfn, can_unsync)
    sp = lookup_page(m, gfn)
    if sp == 0:
        return 0
    if level_of(m, sp) != 1:
        return 1
    # A sync that relies on one pass of protecting may not make a table writable that comes later.
    if m.page[sp + words.UNSYNC] and (
        can_unsync or m.vm[words.KNOB_SYNC_PROTECT] == values.SYNC_PROTECT_TWICE
    ):
        return 0
    if can_unsync:
        return unsync_page(m, sp)
    return 1


@kernel
def set_spte(
    m: Machine,
    cpu: int,
    sptep: int,
    access: int,
    user_fault: int,
    write_fault: int,
    dirty: int,
    level: int,
    gfn: int,
    speculative: int,
    can_unsync: int,
    host_writable: int,
) -> int:
    """Store a leaf (mmu.c: set_spte). 1: the frame is a protected table, and the leaf got no W."""
    vm = m.vm
    spte = x86.PRESENT | x86.DIRTY | (gfn << x86.PAGE_SHIFT)
    if not speculative:
        spte |= x86.ACCESSED
    if not dirty:
        access &= ~words.ACC_WRITE
    if not access & words.ACC_EXEC:
        spte |= x86.NX
    if access & words.ACC_USER:
        spte |= x86.USER
    if level > 1:
        spte |= x86.LARGE
    if host_writable:
        spte |= words.HOST_WRITABLE
    guarded = 0
    forced = write_fault and not user_fault and not vm[cpu + words.CR0] & x86.CR0_WP
    if access & words.ACC_WRITE or forced:
        if level > 1 and m.frame[large_region(m, gfn, level) + words.WRITE_COUNT]:
            m.spt[sptep] = vm[words.TRAP]
            return 1
        spte |= x86.WRITABLE
        if (
            vm[words.KNOB_FORCED_WRITE] == values.FORCED_WRITE_FOR_SUPERVISOR
            and not access & words.ACC_WRITE
        ):
            spte &= ~x86.USER
        # When syncing, an entry that could write before needs no lookup: protecting the
        # frame would have cleared W in every mapping of it.
        if can_unsync or not m.spt[sptep] & x86.WRITABLE:
            if need_write_protect(m, gfn, can_unsync):
                guarded = 1
                spte &= ~x86.WRITABLE
            elif access & words.ACC_WRITE:
                mark_page_dirty(m, gfn)
    lost = m.spt[sptep] & ~spte & x86.WRITABLE
    m.spt[sptep] = spte
    # Else a later write protection finds nothing to flush, though a TLB may still allow writes.
    if lost and vm[words.KNOB_WRITE_LOST] == values.WRITE_LOST_FLUSHED:
        flush_remote_tlbs(m)
    return guarded


@kernel
def mmu_set_spte(
    m: Machine,
    cpu: int,
    sptep: int,
    access: int,
    user_fault: int,
    write_fault: int,
    dirty: int,
    level: int,
    gfn: int,
    speculative: int,
) -> None:
    """Install a leaf over whatever is there (mmu.c: mmu_set_spte).

    Sets ``WRITE_PT`` when a write fault hit a protected table and must be emulated.
    """
    vm = m.vm
    old = m.spt[sptep]
    was_rmapped = 0
    if is_present(m, old):
        if level > 1 and not old & x86.LARGE:
            remove_parent(m, child_of(old), sptep)
        elif (old & x86.FRAME_MASK) >> x86.PAGE_SHIFT != gfn:
            rmap_remove(m, sptep)
        else:
            was_rmapped = 1
        if vm[words.KNOB_SPTE_OVERWRITE] == values.SPTE_OVERWRITE_FLUSHES and not was_rmapped:
            m.spt[sptep] = vm[words.TRAP]
            flush_remote_tlbs(m)
    if set_spte(
        m, cpu, sptep, access, user_fault, write_fault, dirty, level, gfn, speculative, 1, 1
    ):
        if write_fault:
            vm[words.WRITE_PT] = 1
        if vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_TRAPPED:
            flush_hardware(m, cpu)
    if not was_rmapped and m.spt[sptep] & x86.LARGE:
        vm[words.LPAGES] += 1
    slot = (slot_of(m, gfn) - words.SLOTS) // words.SLOT_WORDS
    m.page[page_of(sptep) + words.SLOT_BITMAP] |= 1 << slot
    if not was_rmapped and rmap_add(m, sptep, gfn) > words.RECYCLE_THRESHOLD:
        rmap_recycle(m, sptep, gfn)
    if speculative:
        vm[cpu + words.LAST_PTE_UPDATED] = sptep
        vm[cpu + words.LAST_PTE_GFN] = gfn

"""Finding and making shadow pages (mmu.c: kvm_mmu_get_page)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_gpte
from refault.engines.shadow.arch.tlb import drop_all
from refault.engines.shadow.kvm.parents import add_parent, level_of, quadrant_of, table_of
from refault.engines.shadow.kvm.requests import cpu_of, flush_remote_tlbs
from refault.engines.shadow.kvm.rmap import rmap_write_protect
from refault.engines.shadow.kvm.sync import FLUSH, sync_page, sync_table, sync_transiently
from refault.engines.shadow.kvm.tracepoints import GET_PAGE, trace_page
from refault.engines.shadow.kvm.unsync import has_unsync_below, mark_parents_unsync
from refault.engines.shadow.kvm.walk import entry_size
from refault.engines.shadow.kvm.zap import (
    account_shadowed,
    commit_zap,
    hash_of,
    hash_push,
    list_push,
)
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def role_of(m: Machine, cpu: int, gva: int, level: int, direct: int, access: int) -> int:
    """Role word of a page for this vCPU.

    The quadrant says which part of a guest table is shadowed: a table of 1024 entries
    needs two pages, a 32-bit directory four.
    """
    role = m.vm[cpu + words.BASE_ROLE] | (level << words.ROLE_LEVEL_SHIFT)
    role |= access << words.ROLE_ACCESS_SHIFT
    if direct:
        role |= words.ROLE_DIRECT
        if m.vm[words.KNOB_ROLE_LAYOUT] != values.ROLE_LAYOUT_LEVELS:
            role &= ~words.ROLE_FORMAT_MASK
    if m.vm[cpu + words.ROOT_LEVEL] <= x86.LEGACY_LEVELS:
        quadrant = gva >> (12 + 9 * level) & ((1 << level) - 1)
        role |= quadrant << words.ROLE_QUADRANT_SHIFT
    return role


@kernel
def fill_absent(m: Machine, cpu: int, sp: int) -> None:
    """Mark entries that are absent in the guest: their faults need no exit (bypass_guest_pf).

    Not in the directory of a 32-bit guest, where two or more shadow entries stand for one.
    """
    if m.vm[words.TRAP] == m.vm[words.NOTRAP] or m.page[sp + words.ROLE] & words.ROLE_DIRECT:
        return
    size = entry_size(m, cpu)
    if size == 4 and level_of(m, sp) > 1:
        return
    gpa = m.page[sp + words.GFN] << x86.PAGE_SHIFT
    if size == 4:
        gpa += quadrant_of(m, sp) << 11
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        if not read_gpte(m, gpa + i * size, size) & x86.PRESENT:
            m.spt[table + i] = m.vm[words.NOTRAP]


@kernel
def alloc_page(m: Machine, gfn: int, role: int) -> int:
    """A new shadow page at the head of its bucket and of the active list, all entries absent."""
    sp = m.vm[words.PAGE_FREE]
    m.vm[words.PAGE_FREE] = m.page[sp + words.LIST_NEXT]
    m.vm[words.PAGE_FREE_COUNT] -= 1
    m.vm[words.N_FREE] = (m.vm[words.N_FREE] - 1) & x86.U32
    m.vm[words.ACTIVE] += 1
    for i in range(words.PAGE_WORDS):
        m.page[sp + i] = 0
    m.page[sp + words.GFN] = gfn
    m.page[sp + words.ROLE] = role
    if m.vm[words.KNOB_GLOBAL_PAGES] == values.GLOBAL_PAGES_LEFT and role & words.ROLE_PGE:
        m.page[sp + words.ALL_GLOBAL] = 1
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        m.spt[table + i] = m.vm[words.TRAP]
    list_push(m, sp)
    hash_push(m, sp)
    return sp


@kernel
def flush_guarded_table(m: Machine) -> None:
    """Mappings of a table lost W. With TABLE_WRITE_QUEUED only the model guards it: no count."""
    if m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_TRAPPED:
        flush_remote_tlbs(m)
        return
    for vcpu in range(m.vm[words.VCPU_COUNT]):
        drop_all(m, cpu_of(vcpu))


@kernel
def link_again(m: Machine, cpu: int, sp: int, sptep: int) -> int:
    """Note a new link to a page there is; what is out of sync below it is reachable by it."""
    add_parent(m, sp, sptep)
    if m.vm[words.KNOB_SYNC_SCOPE] == values.SYNC_SCOPE_CHANGED:
        if has_unsync_below(m, sp):
            m.vm[words.CHANGE_EPOCH] += 1
            m.vm[words.LINK_EPOCH] = m.vm[words.CHANGE_EPOCH]
            if level_of(m, sp) > 1:  # a page of level 1 has just been updated
                m.vm[cpu + words.REQUESTS] |= words.REQ_MMU_SYNC
    elif m.page[sp + words.UNSYNC_CHILDREN]:
        m.vm[cpu + words.REQUESTS] |= words.REQ_MMU_SYNC
        mark_parents_unsync(m, sp)
    elif m.page[sp + words.UNSYNC] and not m.page[sp + words.ALL_GLOBAL]:
        mark_parents_unsync(m, sp)
    trace_page(m, GET_PAGE, sp, 0)
    return sp


@kernel
def get_page(
    m: Machine, cpu: int, gfn: int, gva: int, level: int, direct: int, access: int, sptep: int
) -> int:
    """The shadow page of a guest table (or of a direct range) in this vCPU's role.

    Every unsync page of that frame met on the way is synced, whatever its role; with
    RELINK_SYNC_TRANSIENT only the one that is wanted, which stays out of sync. ``sptep``
    is the entry that will link to the page, 0 for a root.
    """
    role = role_of(m, cpu, gva, level, direct, access)
    whole = m.vm[words.KNOB_RELINK_SYNC] == values.RELINK_SYNC_WHOLE
    left_unsync = 0
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        after = m.page[sp + words.HASH_NEXT]
        if m.page[sp + words.GFN] == gfn:
            zapped = 0
            if m.page[sp + words.UNSYNC] and whole:
                zapped = sync_page(m, cpu, sp, 0, FLUSH)
                commit_zap(m)
            elif m.page[sp + words.UNSYNC]:
                left_unsync = 1
                if m.page[sp + words.ROLE] == role:
                    zapped = sync_transiently(m, cpu, sp)
            if not zapped and m.page[sp + words.ROLE] == role:
                return link_again(m, cpu, sp, sptep)
        sp = after
    m.vm[words.CACHE_MISS] += 1
    sp = alloc_page(m, gfn, role)
    add_parent(m, sp, sptep)
    if not direct:
        if rmap_write_protect(m, gfn):
            flush_guarded_table(m)
        one = m.vm[words.KNOB_UNSYNC_ROLES] == values.UNSYNC_ROLES_ONE
        if left_unsync and (one or level > 1):
            sync_table(m, cpu, gfn)
        account_shadowed(m, gfn, 1)
    fill_absent(m, cpu, sp)
    trace_page(m, GET_PAGE, sp, 1)
    return sp

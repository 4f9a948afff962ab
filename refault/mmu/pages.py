"""Finding and making shadow pages (mmu.c: kvm_mmu_get_page)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import read_gpte
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.parents import add_parent, level_of, quadrant_of, table_of
from refault.mmu.requests import flush_remote_tlbs
from refault.mmu.rmap import rmap_write_protect
from refault.mmu.steps import goes_on
from refault.mmu.sync import FLUSH, sync_page
from refault.mmu.tracepoints import GET_PAGE, trace_page
from refault.mmu.unsync import mark_parents_unsync
from refault.mmu.walk import entry_size
from refault.mmu.zap import account_shadowed, commit_zap, hash_of, hash_push, list_push


@kernel
def role_of(m: Machine, cpu: int, gva: int, level: int, direct: int, access: int) -> int:
    """Role word of a page this vCPU asks for.

    The quadrant says which part of a guest table is shadowed: a table of 1024 entries
    needs two pages, a 32-bit directory four.
    """
    role = m.vm[cpu + x86.BASE_ROLE] | (level << x86.ROLE_LEVEL_SHIFT)
    role |= access << x86.ROLE_ACCESS_SHIFT
    if direct:
        role |= x86.ROLE_DIRECT
        if m.vm[x86.KNOB_ROLE_LAYOUT]:
            role &= ~x86.ROLE_FORMAT_MASK
    if m.vm[cpu + x86.ROOT_LEVEL] <= x86.LEGACY_LEVELS:
        quadrant = gva >> (12 + 9 * level) & ((1 << level) - 1)
        role |= quadrant << x86.ROLE_QUADRANT_SHIFT
    return role


@kernel
def fill_absent(m: Machine, cpu: int, sp: int) -> None:
    """Mark entries the guest leaves absent, so that their faults need no host (bypass_guest_pf).

    Two or more entries of a shadow directory stand for one of a 32-bit guest's, so those stay.
    """
    if m.vm[x86.TRAP] == m.vm[x86.NOTRAP] or m.page[sp + x86.ROLE] & x86.ROLE_DIRECT:
        return
    size = entry_size(m, cpu)
    if size == 4 and level_of(m, sp) > 1:
        return
    gpa = m.page[sp + x86.GFN] << x86.PAGE_SHIFT
    if size == 4:
        gpa += quadrant_of(m, sp) << 11
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        if not read_gpte(m, gpa + i * size, size) & x86.PRESENT:
            m.spt[table + i] = m.vm[x86.NOTRAP]


@kernel
def alloc_page(m: Machine, gfn: int, role: int) -> int:
    """A new shadow page at the head of its bucket and of the active list, all entries absent."""
    sp = m.vm[x86.PAGE_FREE]
    m.vm[x86.PAGE_FREE] = m.page[sp + x86.LIST_NEXT]
    m.vm[x86.PAGE_FREE_COUNT] -= 1
    m.vm[x86.N_FREE] = (m.vm[x86.N_FREE] - 1) & x86.U32
    m.vm[x86.ACTIVE] += 1
    for i in range(x86.PAGE_WORDS):
        m.page[sp + i] = 0
    m.page[sp + x86.GFN] = gfn
    m.page[sp + x86.ROLE] = role
    if m.vm[x86.KNOB_GLOBAL_PAGES] and role & x86.ROLE_PGE:
        m.page[sp + x86.ALL_GLOBAL] = 1
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        m.spt[table + i] = m.vm[x86.TRAP]
    list_push(m, sp)
    hash_push(m, sp)
    return sp


@kernel
def get_page(
    m: Machine, cpu: int, gfn: int, gva: int, level: int, direct: int, access: int, sptep: int
) -> int:
    """The shadow page of a guest table (or of a direct range) in this vCPU's role.

    On the way every unsync page of that frame is synced, whatever its role. ``sptep``
    is the entry that will link to it, 0 for a root.
    """
    role = role_of(m, cpu, gva, level, direct, access)
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        after = m.page[sp + x86.HASH_NEXT]
        if m.page[sp + x86.GFN] == gfn:
            zapped = 0
            if m.page[sp + x86.UNSYNC]:
                zapped = sync_page(m, cpu, sp, 0, FLUSH)
                commit_zap(m)
            if not zapped and m.page[sp + x86.ROLE] == role:
                add_parent(m, sp, sptep)
                if m.page[sp + x86.UNSYNC_CHILDREN]:
                    m.vm[cpu + x86.REQUESTS] |= x86.REQ_MMU_SYNC
                    mark_parents_unsync(m, sp)
                trace_page(m, GET_PAGE, sp, 0)
                return sp
        sp = after
    m.vm[x86.CACHE_MISS] += 1
    sp = alloc_page(m, gfn, role)
    add_parent(m, sp, sptep)
    if not direct:
        if rmap_write_protect(m, gfn):
            flush_remote_tlbs(m)
        account_shadowed(m, gfn, 1)
    fill_absent(m, cpu, sp)
    trace_page(m, GET_PAGE, sp, 1)
    return sp

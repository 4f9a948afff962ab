"""Finding and making shadow pages (mmu.c: kvm_mmu_get_page)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import frame_of
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.parents import add_parent, table_of
from refault.mmu.requests import flush_remote_tlbs
from refault.mmu.rmap import rmap_write_protect
from refault.mmu.sync import sync_page
from refault.mmu.unsync import mark_parents_unsync
from refault.mmu.zap import U32, account_shadowed, hash_of, hash_push, list_push


@kernel
def role_of(m: Machine, cpu: int, level: int, direct: int, access: int) -> int:
    """Role word of a page this vCPU asks for."""
    role = m.vm[cpu + x86.BASE_ROLE] | (level << x86.ROLE_LEVEL_SHIFT)
    role |= access << x86.ROLE_ACCESS_SHIFT
    if direct:
        role |= x86.ROLE_DIRECT
    return role


@kernel
def fill_absent(m: Machine, sp: int) -> None:
    """Mark entries the guest leaves absent, so that their faults need no host (bypass_guest_pf)."""
    if m.vm[x86.TRAP] == m.vm[x86.NOTRAP] or m.page[sp + x86.ROLE] & x86.ROLE_DIRECT:
        return
    memory = m.frame[frame_of(m, m.page[sp + x86.GFN]) + x86.MEMORY]
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        if not m.mem[memory + i] & x86.PRESENT:
            m.spt[table + i] = m.vm[x86.NOTRAP]


@kernel
def alloc_page(m: Machine, gfn: int, role: int) -> int:
    """A new shadow page at the head of its bucket and of the active list, all entries absent."""
    sp = m.vm[x86.PAGE_FREE]
    m.vm[x86.PAGE_FREE] = m.page[sp + x86.LIST_NEXT]
    m.vm[x86.PAGE_FREE_COUNT] -= 1
    m.vm[x86.N_FREE] = (m.vm[x86.N_FREE] - 1) & U32
    m.vm[x86.ACTIVE] += 1
    for i in range(x86.PAGE_WORDS):
        m.page[sp + i] = 0
    m.page[sp + x86.GFN] = gfn
    m.page[sp + x86.ROLE] = role
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        m.spt[table + i] = m.vm[x86.TRAP]
    list_push(m, sp)
    hash_push(m, sp)
    return sp


@kernel
def get_page(
    m: Machine, cpu: int, gfn: int, level: int, direct: int, access: int, sptep: int
) -> int:
    """The shadow page of a guest table (or of a direct range) in this vCPU's role.

    On the way every unsync page of that frame is synced, whatever its role. ``sptep``
    is the entry that will link to it, 0 for a root.
    """
    role = role_of(m, cpu, level, direct, access)
    sp = m.vm[hash_of(gfn)]
    while sp:
        after = m.page[sp + x86.HASH_NEXT]
        if m.page[sp + x86.GFN] == gfn:
            zapped = 0
            if m.page[sp + x86.UNSYNC]:
                zapped = sync_page(m, cpu, sp, 1)
            if not zapped and m.page[sp + x86.ROLE] == role:
                add_parent(m, sp, sptep)
                if m.page[sp + x86.UNSYNC_CHILDREN]:
                    m.vm[cpu + x86.REQUESTS] |= x86.REQ_MMU_SYNC
                    mark_parents_unsync(m, sp)
                return sp
        sp = after
    m.vm[x86.CACHE_MISS] += 1
    sp = alloc_page(m, gfn, role)
    add_parent(m, sp, sptep)
    if not direct:
        if rmap_write_protect(m, gfn):
            flush_remote_tlbs(m)
        account_shadowed(m, gfn, 1)
    fill_absent(m, sp)
    return sp

"""Page faults: from the guest's mapping to a shadow mapping (paging_tmpl.h: page_fault, fetch)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import read_word, slot_of, walk_addr
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.pages import get_page
from refault.mmu.parents import remove_parent, table_of
from refault.mmu.requests import flush_remote_tlbs
from refault.mmu.rmap import is_present, large_region, rmap_remove
from refault.mmu.spte import mmu_set_spte
from refault.mmu.zap import free_some_pages

FIXED = 0
EMULATE = 1
GUEST_FAULT = 2


@kernel
def mapping_level(m: Machine, gfn: int) -> int:
    """The largest leaf the host can give ``gfn``: host page size, dirty log and guarded tables."""
    slot = slot_of(m, gfn)
    if slot == 0 or m.vm[slot + x86.SLOT_LOG]:
        return 1
    level = 1
    while (
        level < m.vm[slot + x86.SLOT_HOST_LEVEL]
        and m.frame[large_region(m, gfn, level + 1) + x86.WRITE_COUNT] == 0
    ):
        level += 1
    return level


@kernel
def link_child(m: Machine, cpu: int, sptep: int, level: int, gva: int, access: int) -> int:
    """Hang the next lower page under an absent entry; 0 if the guest's table changed meanwhile.

    A guest page larger than the host's is split into direct pages: linear, and
    without W until the guest's own entry is dirty. Answers the access left, plus 8.
    """
    vm = m.vm
    guest_level = vm[x86.WALK_LEVEL]
    gpte = vm[x86.WALK_PTES + guest_level - 1]
    if level <= guest_level:
        if not gpte & x86.DIRTY:
            access &= ~x86.ACC_WRITE
        gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        if level < guest_level:
            gfn += (gva >> (3 + 9 * level)) & 511
        child = get_page(m, cpu, gfn, level - 1, 1, access, sptep)
    else:
        child = get_page(m, cpu, vm[x86.WALK_TABLE_GFNS + level - 2], level - 1, 0, access, sptep)
        if read_word(m, vm[x86.WALK_PTE_GPAS + level - 2]) != vm[x86.WALK_PTES + level - 2]:
            remove_parent(m, child, sptep)
            return 0
    m.spt[sptep] = (child << x86.PAGE_SHIFT) | x86.PRESENT | x86.ACCESSED | x86.WRITABLE | x86.USER
    return access | 8


@kernel
def fetch(
    m: Machine, cpu: int, gva: int, user_fault: int, write_fault: int, leaf_level: int
) -> None:
    """Build the shadow path of the latest guest walk and install its leaf."""
    vm = m.vm
    access = vm[x86.WALK_PT_ACCESS]
    level = x86.LONG_LEVELS
    sptep = table_of(vm[cpu + x86.ROOT]) + ((gva >> 39) & 511)
    while level > leaf_level:
        spte = m.spt[sptep]
        if not is_present(m, spte) or spte & x86.LARGE:
            if spte & x86.LARGE:
                rmap_remove(m, sptep)
                m.spt[sptep] = vm[x86.TRAP]
                flush_remote_tlbs(m)
            left = link_child(m, cpu, sptep, level, gva, access)
            if left == 0:
                return
            access = left & x86.ACC_ALL
        child = (m.spt[sptep] & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        level -= 1
        sptep = table_of(child) + ((gva >> (3 + 9 * level)) & 511)
    dirty = vm[x86.WALK_PTES + vm[x86.WALK_LEVEL] - 1] & x86.DIRTY
    mmu_set_spte(
        m,
        cpu,
        sptep,
        vm[x86.WALK_PTE_ACCESS] & access,
        user_fault,
        write_fault,
        dirty,
        level,
        vm[x86.WALK_GFN],
        0,
    )


@kernel
def page_fault(m: Machine, cpu: int, gva: int, code: int) -> int:
    """Handle one exit: FIXED, EMULATE the access, or GUEST_FAULT (code in ``WALK_ERROR``)."""
    vm = m.vm
    write = code & x86.PF_WRITE
    user = code & x86.PF_USER
    if not walk_addr(m, cpu, gva, write, user, code & x86.PF_FETCH):
        vm[x86.PF_GUEST] += 1
        vm[cpu + x86.LAST_PT_WRITE_COUNT] = 0
        return GUEST_FAULT
    leaf_level = 1
    gfn = vm[x86.WALK_GFN]
    if vm[x86.WALK_LEVEL] >= 2:
        leaf_level = min(vm[x86.WALK_LEVEL], mapping_level(m, gfn))
        gfn &= ~((1 << (9 * (leaf_level - 1))) - 1)
        vm[x86.WALK_GFN] = gfn
    if slot_of(m, gfn) == 0:
        return EMULATE
    free_some_pages(m)
    if vm[x86.BUG]:
        return FIXED
    vm[x86.WRITE_PT] = 0
    fetch(m, cpu, gva, user, write, leaf_level)
    if not vm[x86.WRITE_PT]:
        vm[cpu + x86.LAST_PT_WRITE_COUNT] = 0
    vm[x86.PF_FIXED] += 1
    return EMULATE if vm[x86.WRITE_PT] else FIXED

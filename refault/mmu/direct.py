"""Mapping for a guest without paging: linear, by pages that shadow nothing (__direct_map)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import slot_of
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.pages import get_page
from refault.mmu.parents import child_of, entry_of, level_of, shadow_root
from refault.mmu.rmap import is_present
from refault.mmu.spte import mapping_level, mmu_set_spte
from refault.mmu.zap import free_some_pages

LINK = x86.PRESENT | x86.WRITABLE | x86.USER


@kernel
def direct_map(m: Machine, cpu: int, gva: int, write: int) -> int:
    """Map ``gva`` to itself; 1 if the access must be emulated (device memory, or a guarded table).

    A linear address has 32 bits. The tables below are PAE's, so 2 MiB is the largest leaf.
    A flood count is left alone.
    """
    vm = m.vm
    gfn = (gva & x86.U32) >> x86.PAGE_SHIFT
    leaf_level = min(2, mapping_level(m, gfn))
    gfn &= ~((1 << (9 * (leaf_level - 1))) - 1)
    if slot_of(m, gfn) == 0:
        return 1
    free_some_pages(m)
    if vm[x86.BUG]:
        return 0
    linear = gfn << x86.PAGE_SHIFT
    vm[x86.WRITE_PT] = 0
    sp = shadow_root(m, cpu, linear)
    level = level_of(m, sp)
    sptep = entry_of(sp, level, linear)
    while level > leaf_level:  # one turn a level
        spte = m.spt[sptep]
        if not is_present(m, spte):
            base = gfn & ~((1 << (9 * (level - 1))) - 1)
            child = get_page(m, cpu, base, linear, level - 1, 1, x86.ACC_ALL, sptep)
            m.spt[sptep] = (child << x86.PAGE_SHIFT) | LINK
        elif spte & x86.LARGE:
            # KVM would take the guest's page for a table here.
            vm[x86.BUG] = x86.BUG_LARGE_AS_TABLE
            return 0
        level -= 1
        sptep = entry_of(child_of(m.spt[sptep]), level, linear)
    mmu_set_spte(m, cpu, sptep, x86.ACC_ALL, 0, write, 1, level, gfn, 0)
    vm[x86.PF_FIXED] += 1
    return vm[x86.WRITE_PT]

"""Maps for a guest without paging: linear, with pages that shadow no table (__direct_map)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.pages import get_page
from refault.engines.shadow.kvm.parents import child_of, entry_of, level_of, shadow_root
from refault.engines.shadow.kvm.prefetch import prefetch
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.kvm.spte import mapping_level, mmu_set_spte
from refault.engines.shadow.kvm.zap import free_some_pages
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

LINK = x86.PRESENT | x86.WRITABLE | x86.USER


@kernel
def direct_map(m: Machine, cpu: int, gva: int, write: int) -> int:
    """Map ``gva`` to itself; 1 if the access must be emulated (device memory, or a guarded table).

    A linear address has 32 bits. The tables below are PAE's, so 2 MiB is the largest leaf.
    The flood count does not change.
    """
    vm = m.vm
    gfn = (gva & x86.U32) >> x86.PAGE_SHIFT
    leaf_level = min(2, mapping_level(m, gfn))
    gfn &= ~((1 << (9 * (leaf_level - 1))) - 1)
    if slot_of(m, gfn) == 0:
        return 1
    free_some_pages(m)
    if vm[words.BUG]:
        return 0
    linear = gfn << x86.PAGE_SHIFT
    vm[words.WRITE_PT] = 0
    sp = shadow_root(m, cpu, linear)
    level = level_of(m, sp)
    sptep = entry_of(sp, level, linear)
    while level > leaf_level:  # one iteration per level
        spte = m.spt[sptep]
        if not is_present(m, spte):
            base = gfn & ~((1 << (9 * (level - 1))) - 1)
            child = get_page(m, cpu, base, linear, level - 1, 1, words.ACC_ALL, sptep)
            m.spt[sptep] = (child << x86.PAGE_SHIFT) | LINK
        elif spte & x86.LARGE:
            # KVM would use the guest's page as a table here.
            vm[words.BUG] = words.BUG_LARGE_AS_TABLE
            return 0
        level -= 1
        sptep = entry_of(child_of(m.spt[sptep]), level, linear)
    mmu_set_spte(m, cpu, sptep, words.ACC_ALL, 0, write, 1, level, gfn, 0)
    if vm[words.KNOB_PREFETCH] != values.PREFETCH_NONE:
        prefetch(m, cpu, sptep)
    vm[words.PF_FIXED] += 1
    return vm[words.WRITE_PT]

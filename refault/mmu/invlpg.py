"""INVLPG (paging_tmpl.h: invlpg, as in 2.6.34: no table write follows)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.parents import table_of
from refault.mmu.requests import flush_remote_tlbs, flush_tlb
from refault.mmu.rmap import is_present, rmap_remove


@kernel
def drop_leaf(m: Machine, cpu: int, gva: int) -> int:
    """Make the leaf that maps ``gva`` absent; 1 if it was present."""
    sptep = table_of(m.vm[cpu + x86.ROOT]) + ((gva >> 39) & 511)
    level = x86.LONG_LEVELS
    while True:
        spte = m.spt[sptep]
        if level == 1 or (spte & x86.LARGE and level <= 3):
            found = 0
            if is_present(m, spte):
                rmap_remove(m, sptep)
                if spte & x86.LARGE:
                    m.vm[x86.LPAGES] -= 1
                found = 1
            m.spt[sptep] = m.vm[x86.TRAP]
            return found
        if not is_present(m, spte):
            return 0
        level -= 1
        sptep = table_of((spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT) + (
            (gva >> (3 + 9 * level)) & 511
        )


@kernel
def invlpg(m: Machine, cpu: int, gva: int) -> None:
    """The guest invalidates one page (mmu.c: kvm_mmu_invlpg)."""
    if drop_leaf(m, cpu, gva):
        flush_remote_tlbs(m)
    flush_tlb(m)
    m.vm[x86.INVLPG] += 1

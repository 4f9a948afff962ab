"""INVLPG (paging_tmpl.h: invlpg)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.kvm.parents import (
    child_of,
    entry_of,
    level_of,
    page_of,
    quadrant_of,
    shadow_root,
)
from refault.engines.shadow.kvm.ptwrite import pte_write
from refault.engines.shadow.kvm.requests import flush_remote_tlbs, flush_tlb
from refault.engines.shadow.kvm.rmap import is_present, rmap_remove
from refault.engines.shadow.kvm.walk import entry_size
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

NO_TARGET = 0


@kernel
def drop_leaf(m: Machine, cpu: int, gva: int) -> int:
    """Make the leaf for ``gva`` absent, and flush if needed; answers its place, or NO_TARGET.

    With INVLPG_SCOPE_UNSYNC only in a page that is out of sync, to which marks lead.
    """
    unsync_only = m.vm[words.KNOB_INVLPG_SCOPE] == values.INVLPG_SCOPE_UNSYNC
    marked_only = unsync_only and m.vm[words.KNOB_SYNC_SCOPE] != values.SYNC_SCOPE_CHANGED
    sp = shadow_root(m, cpu, gva)
    if sp == 0:
        return NO_TARGET
    level = level_of(m, sp)
    while True:  # one iteration per level
        sptep = entry_of(sp, level, gva)
        spte = m.spt[sptep]
        if level == 1 or (spte & x86.LARGE and level <= 3):
            if unsync_only and not m.page[sp + words.UNSYNC]:
                return NO_TARGET
            if is_present(m, spte):
                rmap_remove(m, sptep)
                if spte & x86.LARGE:
                    m.vm[words.LPAGES] -= 1
            m.spt[sptep] = m.vm[words.TRAP]
            if is_present(m, spte):
                flush_remote_tlbs(m)
            return sptep
        if not is_present(m, spte) or (marked_only and not m.page[sp + words.UNSYNC_CHILDREN]):
            return NO_TARGET
        level -= 1
        sp = child_of(spte)


@kernel
def write_target(m: Machine, cpu: int, sptep: int) -> None:
    """Map the guest's entry again by a table write, as April 2010 does.

    The address of the guest's entry is computed from the place of the shadow entry. For a
    32-bit guest April leaves out the quadrant (fixed by 22c9b2d166a); for a direct page it is
    the address of data.
    """
    sp = page_of(sptep)
    size = entry_size(m, cpu)
    gpa = (m.page[sp + words.GFN] << x86.PAGE_SHIFT) + (sptep & 511) * size
    if size == 4 and m.vm[words.KNOB_INVLPG_WRITE] != values.INVLPG_WRITE_NO_QUADRANT:
        # Nine bits of address per level, of the ten that a level of the guest's table has.
        gpa += quadrant_of(m, sp) << (x86.PAGE_SHIFT - level_of(m, sp))
    pte_write(m, cpu, gpa, size, 0, 0)


@kernel
def invlpg(m: Machine, cpu: int, gva: int) -> None:
    """The guest invalidates one page (mmu.c: kvm_mmu_invlpg)."""
    if m.vm[cpu + words.ROOT_LEVEL] != x86.NONPAGING:
        target = drop_leaf(m, cpu, gva)
        if target != NO_TARGET and m.vm[words.KNOB_INVLPG_WRITE] != values.INVLPG_WRITE_NONE:
            write_target(m, cpu, target)
    flush_tlb(m)
    m.vm[words.INVLPG] += 1

"""Page faults: from the guest's mapping to a shadow mapping (paging_tmpl.h: page_fault, fetch)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_gpte, slot_of
from refault.engines.shadow.kvm.direct import direct_map
from refault.engines.shadow.kvm.pages import get_page
from refault.engines.shadow.kvm.parents import (
    child_of,
    entry_of,
    level_of,
    page_of,
    remove_parent,
    shadow_root,
)
from refault.engines.shadow.kvm.prefetch import prefetch
from refault.engines.shadow.kvm.requests import flush_remote_tlbs
from refault.engines.shadow.kvm.rmap import is_present, rmap_remove
from refault.engines.shadow.kvm.spte import mapping_level, mmu_set_spte, note_global
from refault.engines.shadow.kvm.walk import entry_size, walk_addr
from refault.engines.shadow.kvm.zap import free_some_pages
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

FIXED = 0
EMULATE = 1
GUEST_FAULT = 2


@kernel
def link_child(m: Machine, cpu: int, sptep: int, level: int, gva: int, access: int) -> int:
    """Link the next lower page from an absent entry; 0 if the guest's table changed meanwhile.

    A guest page larger than the host's is split into direct pages: linear, and
    without W until the guest's own entry is dirty. Answers the remaining access, plus 8.
    """
    vm = m.vm
    guest_level = vm[words.WALK_LEVEL]
    gpte = vm[words.WALK_PTES + guest_level - 1]
    if level <= guest_level:
        if not gpte & x86.DIRTY:
            access &= ~words.ACC_WRITE
        if vm[words.KNOB_DIRECT_ACCESS] == values.DIRECT_ACCESS_OWN:
            access &= vm[words.WALK_PTE_ACCESS]
        gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        if level < guest_level:
            gfn += (gva >> (3 + 9 * level)) & 511
        child = get_page(m, cpu, gfn, gva, level - 1, 1, access, sptep)
    else:
        gfn = vm[words.WALK_TABLE_GFNS + level - 2]
        child = get_page(m, cpu, gfn, gva, level - 1, 0, access, sptep)
        gpa = vm[words.WALK_PTE_GPAS + level - 2]
        if read_gpte(m, gpa, entry_size(m, cpu)) != vm[words.WALK_PTES + level - 2]:
            remove_parent(m, child, sptep)
            return 0
    m.spt[sptep] = (child << x86.PAGE_SHIFT) | x86.PRESENT | x86.ACCESSED | x86.WRITABLE | x86.USER
    return access | 8


@kernel
def drop_stale_direct(m: Machine, sptep: int) -> None:
    """Unlink a direct page whose access differs from what the guest's entry grants (2.6.35)."""
    vm = m.vm
    wanted = vm[words.WALK_PT_ACCESS] & vm[words.WALK_PTE_ACCESS]
    if not vm[words.WALK_PTES + vm[words.WALK_LEVEL] - 1] & x86.DIRTY:
        wanted &= ~words.ACC_WRITE
    child = child_of(m.spt[sptep])
    if (m.page[child + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_ALL == wanted:
        return
    remove_parent(m, child, sptep)
    m.spt[sptep] = vm[words.TRAP]
    flush_remote_tlbs(m)


@kernel
def fetch(
    m: Machine, cpu: int, gva: int, user_fault: int, write_fault: int, leaf_level: int
) -> None:
    """Build the shadow path of the latest guest walk and install its leaf."""
    vm = m.vm
    access = vm[words.WALK_PT_ACCESS]
    root = shadow_root(m, cpu, gva)
    if root == 0:  # the PDPTE was absent when the roots were loaded
        return
    level = level_of(m, root)
    sptep = entry_of(root, level, gva)
    while level > leaf_level:  # one iteration per level
        spte = m.spt[sptep]
        if (
            vm[words.KNOB_DIRECT_ACCESS] == values.DIRECT_ACCESS_OWN
            and level == vm[words.WALK_LEVEL]
            and is_present(m, spte)
            and not spte & x86.LARGE
        ):
            drop_stale_direct(m, sptep)
            spte = m.spt[sptep]
        if not is_present(m, spte) or spte & x86.LARGE:
            if spte & x86.LARGE:
                rmap_remove(m, sptep)
                m.spt[sptep] = vm[words.TRAP]
                flush_remote_tlbs(m)
            left = link_child(m, cpu, sptep, level, gva, access)
            if left == 0:
                return
            access = left & words.ACC_ALL
        level -= 1
        sptep = entry_of(child_of(m.spt[sptep]), level, gva)
    gpte = vm[words.WALK_PTES + vm[words.WALK_LEVEL] - 1]
    note_global(m, cpu, page_of(sptep), gpte)
    mmu_set_spte(
        m,
        cpu,
        sptep,
        vm[words.WALK_PTE_ACCESS] & access,
        user_fault,
        write_fault,
        gpte & x86.DIRTY,
        level,
        vm[words.WALK_GFN],
        0,
    )
    if vm[words.KNOB_PREFETCH] != values.PREFETCH_NONE:
        prefetch(m, cpu, sptep)


@kernel
def page_fault(m: Machine, cpu: int, gva: int, code: int) -> int:
    """Handle one exit: FIXED, EMULATE the access, or GUEST_FAULT (code in ``WALK_ERROR``)."""
    vm = m.vm
    write = code & x86.PF_WRITE
    user = code & x86.PF_USER
    if vm[cpu + words.ROOT_LEVEL] == x86.NONPAGING:
        return EMULATE if direct_map(m, cpu, gva, write) else FIXED
    if not walk_addr(m, cpu, gva, write, user, code & x86.PF_FETCH, 1):
        vm[words.PF_GUEST] += 1
        vm[cpu + words.LAST_PT_WRITE_COUNT] = 0
        return GUEST_FAULT
    leaf_level = 1
    gfn = vm[words.WALK_GFN]
    if vm[words.WALK_LEVEL] >= 2:
        leaf_level = min(vm[words.WALK_LEVEL], mapping_level(m, gfn))
        gfn &= ~((1 << (9 * (leaf_level - 1))) - 1)
        vm[words.WALK_GFN] = gfn
    if slot_of(m, gfn) == 0:
        return EMULATE
    free_some_pages(m)
    if vm[words.BUG]:
        return FIXED
    vm[words.WRITE_PT] = 0
    fetch(m, cpu, gva, user, write, leaf_level)
    if not vm[words.WRITE_PT]:
        vm[cpu + words.LAST_PT_WRITE_COUNT] = 0
    vm[words.PF_FIXED] += 1
    return EMULATE if vm[words.WRITE_PT] else FIXED

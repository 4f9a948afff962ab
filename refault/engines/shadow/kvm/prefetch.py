"""What else a page fault maps: the guest's entries next to the one that faulted (2.6.37).

A last-level table has groups of eight entries. After the leaf of a fault, those of its group are
mapped that a sync could map too: present, accessed, and with a frame in memory. Not in a logged
slot, if they could be written: the log would not see the guest's first write.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_gpte, slot_of
from refault.engines.shadow.kvm.parents import level_of, page_of, quadrant_of
from refault.engines.shadow.kvm.spte import mmu_set_spte, note_global
from refault.engines.shadow.kvm.walk import entry_size, gpte_access, reserved_bits
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def prefetch(m: Machine, cpu: int, sptep: int) -> None:
    """Map the group of the leaf that a fault has just mapped (pte_prefetch, direct_pte_prefetch).

    ``LAST_PTE_UPDATED`` becomes the last of them, as after any guess.
    """
    sp = page_of(sptep)
    if level_of(m, sp) > 1:
        return
    if m.page[sp + words.ROLE] & words.ROLE_DIRECT:
        prefetch_direct(m, cpu, sptep)
        return
    size = entry_size(m, cpu)
    gpa = (m.page[sp + words.GFN] << x86.PAGE_SHIFT) + (quadrant_of(m, sp) << 11)
    first = sptep & -words.PREFETCHED
    gpa += (first & 511) * size
    for i in range(words.PREFETCHED):
        if first + i == sptep or m.spt[first + i] != m.vm[words.TRAP]:
            continue
        gpte = read_gpte(m, gpa + i * size, size)
        if not prefetch_entry(m, cpu, sp, first + i, gpte):
            return


@kernel
def prefetch_entry(m: Machine, cpu: int, sp: int, sptep: int, gpte: int) -> int:
    """Map one entry of the guest if it can be; 0 if it has no frame, which ends the group.

    With PREFETCH_LOOSE an entry with reserved bits counts as absent, so that under bypass_guest_pf
    the guest's fault comes without RSVD (fixed by e730b63cc08).
    """
    reserved = gpte & reserved_bits(m, cpu, 1, gpte) != 0
    absent = not gpte & x86.PRESENT
    if absent or reserved:
        loose = m.vm[words.KNOB_PREFETCH] == values.PREFETCH_LOOSE
        if (absent or loose) and not m.page[sp + words.UNSYNC]:
            m.spt[sptep] = m.vm[words.NOTRAP]
        return 1
    if not gpte & x86.ACCESSED:
        return 1
    role_access = (m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_ALL
    access = role_access & gpte_access(gpte, m.vm[cpu + words.EFER] & x86.EFER_NX)
    gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    slot = slot_of(m, gfn)
    writable = access & words.ACC_WRITE and gpte & x86.DIRTY
    if slot == 0 or (writable and m.vm[slot + words.SLOT_LOG]):
        return 0
    note_global(m, cpu, sp, gpte)
    mmu_set_spte(m, cpu, sptep, access, 0, 0, gpte & x86.DIRTY, 1, gfn, 1)
    return 1


@kernel
def prefetch_direct(m: Machine, cpu: int, sptep: int) -> None:
    """Map the absent neighbours of a leaf in a direct page, run by run.

    Up to Linux 5.15 a run at the end of the group was forgotten (c6cecc4b9324).
    """
    first = sptep & -words.PREFETCHED
    start = 0
    for place in range(first, first + words.PREFETCHED):
        if place == sptep or m.spt[place] != m.vm[words.TRAP]:
            if start and not prefetch_run(m, cpu, sptep, start, place):
                return
            start = 0
        elif start == 0:
            start = place


@kernel
def prefetch_run(m: Machine, cpu: int, sptep: int, start: int, end: int) -> int:
    """Map the frames of a run of a direct page; 0 if they are not all in one slot, or logged.

    A direct page is linear, so they lie next to the frame of the leaf. 2.6.37 counts from the first
    frame of the page, which 2.6.35 has wrong (fixed by c9fa0b3bef9).
    """
    sp = page_of(start)
    access = (m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_ALL
    gfn = m.spt[sptep + words.GFNS] + start - sptep
    slot = slot_of(m, gfn)
    if slot == 0 or slot_of(m, gfn + end - start - 1) != slot:
        return 0
    if access & words.ACC_WRITE and m.vm[slot + words.SLOT_LOG]:
        return 0
    for place in range(start, end):
        mmu_set_spte(m, cpu, place, access, 0, 0, 1, 1, gfn + place - start, 1)
    return 1

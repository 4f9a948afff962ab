"""Emulated writes to shadowed tables, and unshadowing (mmu.c: kvm_mmu_pte_write and others)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_gpte, read_word, slot_of
from refault.engines.shadow.kvm.parents import (
    child_of,
    level_of,
    quadrant_of,
    remove_parent,
    table_of,
)
from refault.engines.shadow.kvm.requests import flush_remote_tlbs, flush_tlb
from refault.engines.shadow.kvm.rmap import is_present, rmap_remove
from refault.engines.shadow.kvm.spte import mmu_set_spte, note_global
from refault.engines.shadow.kvm.walk import gpte_access, walk_addr
from refault.engines.shadow.kvm.zap import commit_zap, free_some_pages, hash_of, zap_page
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def guess_page(m: Machine, cpu: int, gpte: int) -> None:
    """Look up the frame that an entry may be about to map, before taking the lock."""
    gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    known = gpte & x86.PRESENT and slot_of(m, gfn)
    m.vm[cpu + words.UPDATE_GFN] = gfn if known else -1


@kernel
def written_entry(m: Machine, cpu: int, gpa: int, size: int) -> int:
    """The entry 2.6.34 guesses from a write: in the writing vCPU's format, as it is now; or 0."""
    if m.vm[cpu + words.CR4] & x86.CR4_PAE:
        whole = size >= 4 and gpa & (size - 1) == 0
        return read_word(m, gpa & ~7) if whole else 0
    return read_gpte(m, gpa, 4) if size == 4 and gpa & 3 == 0 else 0


@kernel
def is_flooded(m: Machine, cpu: int, gfn: int) -> int:
    """Is this the third write in a row to one table whose last guessed entry was never used?"""
    vm = m.vm
    last = vm[cpu + words.LAST_PTE_UPDATED]
    used = last and m.spt[last] & x86.ACCESSED
    if gfn == vm[cpu + words.LAST_PT_WRITE_GFN] and not used:
        vm[cpu + words.LAST_PT_WRITE_COUNT] += 1
        return 1 if vm[cpu + words.LAST_PT_WRITE_COUNT] >= words.FLOOD_COUNT else 0
    vm[cpu + words.LAST_PT_WRITE_GFN] = gfn
    vm[cpu + words.LAST_PT_WRITE_COUNT] = 1
    vm[cpu + words.LAST_PTE_UPDATED] = 0
    return 0


@kernel
def touch_last_updated(m: Machine, cpu: int, gfn: int) -> None:
    """The guest wrote through the last guessed entry: mark that entry as used."""
    last = m.vm[cpu + words.LAST_PTE_UPDATED]
    if last and m.vm[cpu + words.LAST_PTE_GFN] == gfn and is_present(m, m.spt[last]):
        m.spt[last] |= x86.ACCESSED


@kernel
def update_entry(m: Machine, cpu: int, sp: int, sptep: int, gpte: int) -> None:
    """Map a level-1 entry's new value at once, if the guess allows (paging_tmpl.h: update_pte)."""
    if not gpte & x86.PRESENT:
        once = m.vm[words.KNOB_ENTRY_READ] == values.ENTRY_READ_ONCE
        trap = once and m.page[sp + words.UNSYNC] != 0
        m.spt[sptep] = m.vm[words.TRAP] if trap else m.vm[words.NOTRAP]
        return
    gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    if not gpte & x86.ACCESSED or gfn != m.vm[cpu + words.UPDATE_GFN]:
        return
    role_access = (m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_ALL
    access = role_access & gpte_access(gpte, m.vm[cpu + words.EFER] & x86.EFER_NX)
    note_global(m, cpu, sp, gpte)
    mmu_set_spte(m, cpu, sptep, access, 0, 0, gpte & x86.DIRTY, 1, gfn, 1)


@kernel
def needs_remote_flush(m: Machine, old: int, new: int) -> bool:
    """Did an entry lose something that another processor's TLB may still hold?"""
    if not is_present(m, old):
        return False
    if not is_present(m, new) or (old ^ new) & x86.FRAME_MASK:
        return True
    lost = (old & ~new) & (x86.PRESENT | x86.PERMISSIONS)
    return lost != 0 or (new < 0 and old >= 0)


@kernel
def write_entry(m: Machine, cpu: int, sp: int, sptep: int, gpte: int) -> None:
    """Drop one shadow entry of a written table and map the guest's new value.

    From April 2010 on a value of zero is not mapped: the entry stays "absent, tell the host".
    """
    old = m.spt[sptep]
    level = level_of(m, sp)
    if is_present(m, old):
        if level == 1 or old & x86.LARGE:
            rmap_remove(m, sptep)
        else:
            remove_parent(m, child_of(old), sptep)
    m.spt[sptep] = m.vm[words.TRAP]
    if old & x86.LARGE:
        m.vm[words.LPAGES] -= 1
    if gpte or m.vm[words.KNOB_ENTRY_READ] == values.ENTRY_READ_BY_PAGE:
        if level > 1:
            m.vm[words.PDE_ZAPPED] += 1
        else:
            m.vm[words.PTE_UPDATED] += 1
            size = table_entry_size(m, sp)
            update_entry(m, cpu, sp, sptep, gpte if size == 8 else gpte & x86.U32)
    remote = needs_remote_flush(m, old, m.spt[sptep])
    if m.vm[words.KNOB_WRITE_FLUSH] == values.WRITE_FLUSH_ONCE or m.vm[words.IN_BATCH]:
        m.vm[words.COLLECTED] |= words.COLLECTED_REMOTE if remote else words.COLLECTED_LOCAL
    elif remote:
        flush_remote_tlbs(m)
    else:
        flush_tlb(m)


@kernel
def flush_written(m: Machine) -> None:
    """End a table write: free what it zapped, and do the deferred flushes.

    The flush of the freeing serves the written entries too.
    """
    if m.vm[words.INVALID_HEAD]:
        commit_zap(m)
    elif m.vm[words.COLLECTED] & words.COLLECTED_REMOTE:
        flush_remote_tlbs(m)
    elif m.vm[words.COLLECTED]:
        flush_tlb(m)


@kernel
def table_entry_size(m: Machine, sp: int) -> int:
    """Bytes of an entry of the guest table that an indirect page shadows."""
    return 4 if m.page[sp + words.ROLE] & words.ROLE_FORMAT_MASK == m.vm[words.FORMAT_32] else 8


@kernel
def write_entries(m: Machine, cpu: int, sp: int, offset: int, gpte: int) -> None:
    """Update a page's entries for a write at ``offset`` in the guest's table.

    A table of 4-byte entries is shadowed in quadrants; an entry of a directory, 4 MiB,
    by two entries of 2 MiB each.
    """
    if table_entry_size(m, sp) == 8:
        write_entry(m, cpu, sp, table_of(sp) + (offset >> 3), gpte)
        return
    place = offset << 1
    count = 1
    if level_of(m, sp) == x86.LEGACY_LEVELS:
        place = (place & ~7) << 1
        count = 2
    if place >> x86.PAGE_SHIFT != quadrant_of(m, sp):
        return
    first = table_of(sp) + ((place & 0xFFF) >> 3)
    for sptep in range(first, first + count):
        write_entry(m, cpu, sp, sptep, gpte)


@kernel
def pte_write(m: Machine, cpu: int, gpa: int, size: int, value: int, by_guest: int) -> None:
    """The guest's memory changed at ``gpa``: update or drop the tables shadowed there.

    Runs for every emulated write, and with ``by_guest`` 0 for INVLPG. A flooded table,
    and one with a misaligned or partial write of an entry, is zapped. From April 2010 on the
    new entry is read once: for a PAE guest's 4-byte write the whole entry, but alignment is
    judged by the offset of the write, so that one to the upper half counts as misaligned.
    """
    vm = m.vm
    gfn = gpa >> x86.PAGE_SHIFT
    offset = gpa & 0xFFF
    once = vm[words.KNOB_ENTRY_READ] == values.ENTRY_READ_ONCE
    if once:
        if vm[cpu + words.CR4] & x86.CR4_PAE and (size == 4 or not by_guest):
            gpa &= ~7
            size = 8
        gpte = 0
        if size >= 4 and slot_of(m, gfn):
            gpte = read_gpte(m, gpa, size)
    else:
        gpte = written_entry(m, cpu, gpa, size)
    guess_page(m, cpu, gpte)
    touch_last_updated(m, cpu, gfn)
    free_some_pages(m)
    if vm[words.BUG]:
        return
    vm[words.PTE_WRITE] += 1
    if not vm[words.IN_BATCH]:
        vm[words.COLLECTED] = 0
    batch = vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_BATCH
    every_walk = vm[words.KNOB_HASH_RESTART] == values.HASH_RESTART_EVERY_WALK
    flooded = is_flooded(m, cpu, gfn) if by_guest else 0
    if not once:
        gpte = value
    sp = vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        after = m.page[sp + words.HASH_NEXT]
        if m.page[sp + words.GFN] == gfn and not m.page[sp + words.ROLE] & (
            words.ROLE_DIRECT | words.ROLE_INVALID
        ):
            entry = table_entry_size(m, sp)
            misaligned = size < 4 or (offset ^ (offset + size - 1)) & ~(entry - 1)
            if misaligned or flooded:
                others = zap_page(m, sp)
                if others and not batch:
                    after = vm[hash_of(gfn)]
                if batch or not others or not every_walk:
                    vm[words.FLOODED] += 1
            else:
                if not once and (gpa & (entry - 1) or size < entry):
                    # What is read for one page is the new value for those after it.
                    gpte = read_gpte(m, gpa & ~(entry - 1), entry)
                write_entries(m, cpu, sp, offset, gpte)
        sp = after
    if not vm[words.IN_BATCH]:
        flush_written(m)
    vm[cpu + words.UPDATE_GFN] = -1


@kernel
def unshadow(m: Machine, gfn: int) -> None:
    """A frame is not a table any more (mmu.c: mmu_unshadow).

    With HASH_RESTART_NEVER the walk continues at a node it saved before the zap, which
    the zap may have freed: the bug of patch 2.
    """
    sp = m.vm[hash_of(gfn)]
    while sp and goes_on(m, 1):
        if m.page[sp + words.FREED]:
            m.vm[words.BUG] = words.BUG_USE_AFTER_FREE
            return
        after = m.page[sp + words.HASH_NEXT]
        if (
            m.page[sp + words.GFN] == gfn
            and not m.page[sp + words.ROLE] & (words.ROLE_DIRECT | words.ROLE_INVALID)
            and zap_page(m, sp)
            and m.vm[words.KNOB_HASH_RESTART] != values.HASH_RESTART_NEVER
            and m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_EACH
        ):
            after = m.vm[hash_of(gfn)]
        sp = after
    commit_zap(m)


@kernel
def unprotect_page(m: Machine, gfn: int) -> int:
    """Zap all shadows of a frame, even invalid roots; 1 if it had any (kvm_mmu_unprotect_page)."""
    found = 0
    sp = m.vm[hash_of(gfn)]
    # As in zap_all: a pinned root is found again after every restart.
    bound = 4 * m.vm[words.ACTIVE] * (m.vm[words.ACTIVE] + 1) + 4
    while sp and bound and goes_on(m, 1):
        bound -= 1
        after = m.page[sp + words.HASH_NEXT]
        if m.page[sp + words.GFN] == gfn and not m.page[sp + words.ROLE] & words.ROLE_DIRECT:
            found = 1
            if zap_page(m, sp) and m.vm[words.KNOB_ZAP_COMMIT] == values.ZAP_COMMIT_EACH:
                after = m.vm[hash_of(gfn)]
        sp = after
    commit_zap(m)
    if bound == 0 and not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_ENDLESS_ZAP
    return found


@kernel
def unprotect(m: Machine, cpu: int, gva: int) -> int:
    """Zap the shadows of the frame that an address maps (mmu.c: kvm_mmu_unprotect_page_virt)."""
    if not walk_addr(m, cpu, gva, 0, 0, 0, 1):
        return 0
    return unprotect_page(m, m.vm[words.WALK_GFN])

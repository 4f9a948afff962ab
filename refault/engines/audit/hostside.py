"""F-H and F-T8: what the host asked for is done (notifiers, shrinker, dirty log)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import canonical, has_steps, is_leaf, tlb_entry, uses_tlb
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.arch.guest import frame_of, slot_of
from refault.engines.shadow.kvm.parents import child_of, level_of, table_of
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import (
    eight_are,
    first_leaf,
    is_present,
    large_region,
    rmap_of,
)
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def covers(first: int, level: int, base: int, end: int) -> bool:
    """Does a page of that level, beginning at frame ``first``, touch ``base`` to ``end`` - 1?"""
    return first < end and first + (1 << 9 * (level - 1)) > base


@kernel
def no_leaf_maps(a: Audit, m: Machine, check: int, base: int, end: int, only_writable: int) -> None:
    """F-H1, F-T8: no leaf of any size maps one of these frames (or none with W)."""
    trap, notrap = m.vm[words.TRAP], m.vm[words.NOTRAP]
    sp = m.vm[words.LIST_HEAD]
    left = m.vm[words.ACTIVE]
    while sp and left:  # the pages in use
        left -= 1
        table = table_of(sp)
        has_steps(a, x86.ENTRIES)
        for eight in range(table, table + x86.ENTRIES, 8):
            if eight_are(m, eight, trap) or eight_are(m, eight, notrap):
                continue
            for sptep in range(eight, eight + 8):
                spte = m.spt[sptep]
                if not is_present(m, spte) or not is_leaf(m, sp, spte):
                    continue
                if only_writable and not spte & x86.WRITABLE:
                    continue
                first = (spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
                if covers(first, level_of(m, sp), base, end):
                    found = report(a, check, -1, first, spte, level_of(m, sp), sptep)
                    watched(a, found, au.WATCH_SPT, sptep)
        sp = m.page[sp + words.LIST_NEXT]


@kernel
def no_tlb_maps(a: Audit, m: Machine, check: int, base: int, end: int, only_writable: int) -> None:
    """F-H1, F-T8: no TLB entry that may still be used reaches one of these frames."""
    for vcpu in range(m.vm[words.VCPU_COUNT]):
        cpu = cpu_of(vcpu)
        if not uses_tlb(m, cpu):
            continue
        start = tlb.tlb_of(cpu)
        for group in range(start, start + tlb.NEXT_WAY, tlb.SET_WORDS):
            for place in range(group, group + tlb.WAYS):
                data = tlb_entry(m, cpu, place)
                if not data or (only_writable and not data & x86.WRITABLE):
                    continue
                level = m.tlb[place] >> tlb.LEVEL_SHIFT & 3
                first = (data & tlb.FRAME_MASK) >> x86.PAGE_SHIFT
                if covers(first, level, base, end):
                    gva = canonical((m.tlb[place] & tlb.PAGE_OF_GVA) << x86.PAGE_SHIFT)
                    report(a, check, vcpu, gva, data, first, 0)


@kernel
def frames_are_gone(a: Audit, m: Machine, base: int, end: int) -> None:
    """F-H1: the host took these frames away."""
    no_leaf_maps(a, m, au.H1, base, end, 0)
    no_tlb_maps(a, m, au.H1, base, end, 0)


@kernel
def frames_are_read_only(a: Audit, m: Machine, check: int, base: int, end: int) -> None:
    """F-H1 after a read-only change_pte, F-T8 after a log was read: nothing writes there."""
    no_leaf_maps(a, m, check, base, end, 1)
    no_tlb_maps(a, m, check, base, end, 1)


@kernel
def note_touch(a: Audit, m: Machine, gpa: int, sptep: int) -> None:
    """The guest reached a frame through that leaf."""
    if sptep and slot_of(m, gpa >> x86.PAGE_SHIFT):
        a.frames[frame_of(m, gpa >> x86.PAGE_SHIFT)] = sptep


@kernel
def has_young_leaf(m: Machine, gfn: int) -> int:
    """1 if the leaf through which the frame is listed first has A, of a size that is looked for."""
    if slot_of(m, gfn) == 0:
        return 0
    # By the place in the slot a notifier may look for another large page (B16).
    by_frame = m.vm[words.KNOB_NOTIFIER_INDEX] == values.NOTIFIER_INDEX_FRAME
    for level in range(1, 4 if by_frame else 2):
        sptep = first_leaf(m, rmap_of(m, gfn, level))
        if sptep and is_present(m, m.spt[sptep]) and m.spt[sptep] & x86.ACCESSED:
            return 1
    return 0


@kernel
def touched_is_young(a: Audit, m: Machine, gfn: int, answer: int) -> None:
    """F-H2: age answers "young" if the guest touched the frame since it was last asked.

    A leaf that was dropped since told the host so, and one of 2 MiB answers for all its frames.
    """
    if slot_of(m, gfn) == 0:
        return
    place = frame_of(m, gfn)
    sptep = a.frames[place]
    a.frames[place] = 0
    for level in range(2, 4):
        if m.frame[large_region(m, gfn, level)]:
            forget_region(a, m, gfn, level)
    if answer:
        # Through what a TLB still holds the frame would be used without A.
        no_tlb_maps(a, m, au.H2, gfn, gfn + 1, 0)
    if sptep == 0 or answer:
        return
    spte = m.spt[sptep]
    sp = sptep >> 10 << 5
    if m.page[sp + words.FREED] or not is_present(m, spte) or not is_leaf(m, sp, spte):
        return
    if covers(child_of(spte), level_of(m, sp), gfn, gfn + 1):
        found = report(a, au.H2, -1, gfn, a.state[au.WAS_YOUNG], 1, sptep)
        watched(a, found, au.WATCH_USE, sptep)


@kernel
def forget_region(a: Audit, m: Machine, gfn: int, level: int) -> None:
    """The host asked about a large leaf: about all its frames at once."""
    slot = slot_of(m, gfn)
    base, pages = m.vm[slot + words.SLOT_BASE], m.vm[slot + words.SLOT_PAGES]
    size = 1 << 9 * (level - 1)
    first = max(base, gfn & ~(size - 1))
    end = min(base + pages, (gfn & ~(size - 1)) + size)
    place = m.vm[slot + words.SLOT_FRAMES] + (first - base) * words.FRAME_WORDS
    for _ in range(first, end):
        a.frames[place] = 0
        place += words.FRAME_WORDS


@kernel
def shrinker_counts_pages(a: Audit, m: Machine, answer: int) -> None:
    """F-H3: the shrinker answers how many pages are in use after it."""
    if answer != m.vm[words.ACTIVE]:
        report(a, au.H3, -1, 0, answer, m.vm[words.ACTIVE], 0)

"""F-D: a dirty log holds what was written (specification, A1.5, B16.2 and F-T8).

A guest is migrated by sending its memory, then again and again what its dirty log says was written
meanwhile. So a log may hold pages that nobody wrote, which are sent for nothing, but never lack one
that somebody did. The host keeps beside each log what was written (arch/guest.py: mark_written).
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import (
    canonical,
    has_steps,
    is_indirect,
    is_leaf,
    shadow_leaf,
    tlb_entry,
    uses_tlb,
)
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.arch.guest import bitmap_of, read_gpte, slot_of, written_of
from refault.engines.shadow.kvm.dirty import content_with
from refault.engines.shadow.kvm.parents import level_of, page_of, quadrant_of, table_of
from refault.engines.shadow.kvm.ptwrite import table_entry_size
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import eight_are, is_present, rmap_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def is_forced(m: Machine, sptep: int) -> int:
    """1 if a writable leaf is one that only a supervisor with CR0.WP clear may write (F-X1)."""
    sp = page_of(sptep)
    if not (m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT) & words.ACC_WRITE:
        return 1
    gfn = m.page[sp + words.GFN]
    if level_of(m, sp) > 1 or not is_indirect(m, sp) or slot_of(m, gfn) == 0:
        return 0
    size = table_entry_size(m, sp)
    gpa = (gfn << x86.PAGE_SHIFT) + (sptep & 511) * size
    if size == 4:
        gpa += quadrant_of(m, sp) << 11
    return int(not read_gpte(m, gpa, size) & x86.WRITABLE)


@kernel
def writes_to(m: Machine, sptep: int) -> bool:
    """Is it a present leaf with W?"""
    spte = m.spt[sptep]
    return bool(spte & x86.WRITABLE and is_present(m, spte))


@kernel
def writer_of(a: Audit, m: Machine, gfn: int) -> int:
    """A leaf of any size that maps a frame with W, or 0."""
    for level in range(1, 4):
        first = m.frame[rmap_of(m, gfn, level)]
        if first > 0 and writes_to(m, first):
            return first
        node = -first if first < 0 else 0
        while node and has_steps(a, 1):
            for i in range(words.RMAP_EXT):
                if m.link[node + i] and writes_to(m, m.link[node + i]):
                    return m.link[node + i]
            node = m.link[node + words.LINK_NEXT]
    return 0


@kernel
def report_lost(a: Audit, m: Machine, gfn: int) -> None:
    """F-D1 of a frame; what may be its cause is who can write it, and what its log was told."""
    sptep = writer_of(a, m, gfn)
    forced = is_forced(m, sptep) if sptep else 0
    found = report(a, au.D1, -1, gfn, 0, 0, forced)
    watched(a, found, au.WATCH_LOG, gfn)
    if sptep:
        watched(a, found, au.WATCH_SPT, sptep)


@kernel
def log_holds_what_was_written(a: Audit, m: Machine, number: int) -> None:
    """F-D1, before a log is read: no frame written since it was read before is lacking.

    Keeps what the log holds, for :func:`answer_is_the_log`.
    """
    s = a.state
    s[au.LOG_COUNT] = -1
    slot = words.SLOTS + number * words.SLOT_WORDS
    if number >= words.SLOTS_MAX or not m.vm[slot + words.SLOT_USED]:
        return
    if not m.vm[slot + words.SLOT_LOG]:
        return
    s[au.STEPS_END] = s[au.STEPS] + au.SWEEP_STEPS
    first, second = bitmap_of(m, slot), written_of(m, slot)
    count, content = 0, 0
    for i in range((m.vm[slot + words.SLOT_PAGES] + 31) >> 5):
        bits, written = m.frame[first + i], m.frame[second + i]
        if bits | written == 0:
            continue
        for bit in range(32):
            place = i << 5 | bit
            if bits >> bit & 1:
                count += 1
                content = content_with(content, place)
            elif written >> bit & 1:
                report_lost(a, m, m.vm[slot + words.SLOT_BASE] + place)
    s[au.LOG_COUNT], s[au.LOG_CONTENT] = count, content


@kernel
def answer_is_the_log(a: Audit, m: Machine, answer: int) -> None:
    """F-D3, after a log was read: what it answered is what it held."""
    s = a.state
    if s[au.LOG_COUNT] < 0:
        return
    if answer != s[au.LOG_COUNT] or m.vm[words.OUT_VALUE] != s[au.LOG_CONTENT]:
        report(a, au.D3, -1, 0, answer, s[au.LOG_COUNT], 0)


@kernel
def missing_frame(a: Audit, m: Machine, first: int, level: int) -> int:
    """The first frame of a page of that level that its slot's log should hold and lacks, or -1."""
    for gfn in range(first, first + (1 << 9 * (level - 1))):
        if not has_steps(a, 1):
            return -1
        slot = slot_of(m, gfn)
        if slot == 0 or not m.vm[slot + words.SLOT_LOG]:
            continue
        place = gfn - m.vm[slot + words.SLOT_BASE]
        if not m.frame[bitmap_of(m, slot) + (place >> 5)] >> (place & 31) & 1:
            return gfn
    return -1


@kernel
def writable_leaves_are_logged(a: Audit, m: Machine, sp: int) -> None:
    """F-D2 of one shadow page: what its leaves may write without an exit stands in its log."""
    if not m.vm[words.LOGGING]:
        return
    table = table_of(sp)
    trap, notrap = m.vm[words.TRAP], m.vm[words.NOTRAP]
    for eight in range(table, table + x86.ENTRIES, 8):
        if eight_are(m, eight, trap) or eight_are(m, eight, notrap):
            continue
        for sptep in range(eight, eight + 8):
            spte = m.spt[sptep]
            if not writes_to(m, sptep) or not is_leaf(m, sp, spte):
                continue
            level = level_of(m, sp)
            gfn = missing_frame(a, m, (spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT, level)
            if gfn >= 0:
                found = report(a, au.D2, -1, gfn, spte, level, is_forced(m, sptep))
                watched(a, found, au.WATCH_SPT, sptep)
                watched(a, found, au.WATCH_LOG, gfn)


@kernel
def tlb_writes_are_logged(a: Audit, m: Machine, vcpu: int) -> None:
    """F-D2 of a TLB that its vCPU may still use."""
    cpu = cpu_of(vcpu)
    if not m.vm[words.LOGGING] or not uses_tlb(m, cpu):
        return
    start = tlb.tlb_of(cpu)
    for group in range(start, start + tlb.NEXT_WAY, tlb.SET_WORDS):
        for place in range(group, group + tlb.WAYS):
            data = tlb_entry(m, cpu, place)
            if not data & x86.WRITABLE:
                continue
            level = m.tlb[place] >> tlb.LEVEL_SHIFT & 3
            gfn = missing_frame(a, m, (data & tlb.FRAME_MASK) >> x86.PAGE_SHIFT, level)
            if gfn < 0:
                continue
            gva = canonical((m.tlb[place] & tlb.PAGE_OF_GVA) << x86.PAGE_SHIFT)
            sptep = shadow_leaf(m, cpu, gva & ((1 << 48) - 1))
            forced = is_forced(m, sptep) if sptep and writes_to(m, sptep) else 0
            found = report(a, au.D2, vcpu, gva, data, gfn, forced)
            watched(a, found, au.WATCH_LOG, gfn)
            if sptep:
                watched(a, found, au.WATCH_SPT, sptep)

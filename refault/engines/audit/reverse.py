"""F-R and F-C1: the reverse map (specification, part F, "Reverse map")."""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import has_steps, is_indirect, is_leaf
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.parents import level_of, page_of, table_of
from refault.engines.shadow.kvm.rmap import eight_are, is_present, large_region, rmap_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def times_listed(a: Audit, m: Machine, rmap: int, sptep: int) -> int:
    """How often a reverse map lists that entry."""
    first = m.frame[rmap]
    if first >= 0:
        return int(first == sptep)
    count = 0
    node = -first
    while node and has_steps(a, 1):
        for i in range(words.RMAP_EXT):
            count += int(m.link[node + i] == sptep)
        node = m.link[node + words.LINK_NEXT]
    return count


@kernel
def leaf_is_listed_once(a: Audit, m: Machine, sp: int, sptep: int) -> None:
    """F-R1, F-R2, F-R3: a present leaf of a page, seen from the leaf."""
    spte = m.spt[sptep]
    gfn = m.spt[sptep + words.GFNS]
    frame = (spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    if frame != gfn:
        watched(a, report(a, au.R2, -1, gfn, frame, gfn, 0), au.WATCH_SPT, sptep)
    slot = slot_of(m, gfn)
    if slot == 0:
        watched(a, report(a, au.R1, -1, gfn, 0, 1, 2), au.WATCH_SPT, sptep)
        return
    rmap = rmap_of(m, gfn, level_of(m, sp))
    count = times_listed(a, m, rmap, sptep)
    if count != 1 and a.state[au.STEPS] < a.state[au.STEPS_END]:
        found = report(a, au.R1, -1, gfn, count, 1, 0)
        watched(a, found, au.WATCH_SPT, sptep)
        watched(a, found, au.WATCH_FRAME, rmap)
    number = (slot - words.SLOTS) // words.SLOT_WORDS
    if not m.page[sp + words.SLOT_BITMAP] >> number & 1:
        report(a, au.R3, -1, gfn, m.page[sp + words.SLOT_BITMAP], number, 0)


@kernel
def host_lets_it_write(a: Audit, m: Machine, sp: int, sptep: int) -> None:
    """F-H1, later: a leaf got W though the host's page is read-only (SPTE_HOST_WRITEABLE)."""
    spte = m.spt[sptep]
    first = (spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    watched(a, report(a, au.H1, -1, first, spte, level_of(m, sp), sptep), au.WATCH_SPT, sptep)


@kernel
def leaves_are_listed(a: Audit, m: Machine, sp: int) -> int:
    """F-R1, from the leaves of a page; answers how many of them are large."""
    table = table_of(sp)
    large = 0
    trap, notrap = m.vm[words.TRAP], m.vm[words.NOTRAP]
    for eight in range(table, table + x86.ENTRIES, 8):
        if eight_are(m, eight, trap) or eight_are(m, eight, notrap):
            continue
        for sptep in range(eight, eight + 8):
            spte = m.spt[sptep]
            if is_present(m, spte) and is_leaf(m, sp, spte):
                leaf_is_listed_once(a, m, sp, sptep)
                if spte & x86.WRITABLE and not spte & words.HOST_WRITABLE:
                    host_lets_it_write(a, m, sp, sptep)
                large += int(level_of(m, sp) > 1)
    return large


@kernel
def listed_is_present(a: Audit, m: Machine, sptep: int, level: int, rmap: int) -> None:
    """F-R1, from the list: what it names is a present leaf of that size."""
    spte = m.spt[sptep]
    sp = page_of(sptep)
    right = is_present(m, spte) and level_of(m, sp) == level and not m.page[sp + words.FREED]
    if right and (level == 1 or spte & x86.LARGE):
        return
    found = report(a, au.R1, -1, m.spt[sptep + words.GFNS], spte, level, 1)
    watched(a, found, au.WATCH_SPT, sptep)
    watched(a, found, au.WATCH_FRAME, rmap)


@kernel
def list_names_leaves(a: Audit, m: Machine, rmap: int, level: int) -> None:
    """F-R1, one list."""
    first = m.frame[rmap]
    if first > 0:
        listed_is_present(a, m, first, level, rmap)
    node = -first if first < 0 else 0
    while node and has_steps(a, 1):
        for i in range(words.RMAP_EXT):
            if m.link[node + i]:
                listed_is_present(a, m, m.link[node + i], level, rmap)
        node = m.link[node + words.LINK_NEXT]


@kernel
def region_count(base: int, pages: int, level: int) -> int:
    """How many regions of that level a slot touches."""
    shift = 9 * (level - 1)
    return ((base + pages - 1) >> shift) - (base >> shift) + 1


@kernel
def cut_edges(base: int, pages: int, level: int, index: int) -> int:
    """How many edges of the slot cut a region: each forbids a large leaf there."""
    size = 1 << 9 * (level - 1)
    count = int(index == 0 and base & (size - 1) != 0)
    last = region_count(base, pages, level) - 1
    return count + int(index == last and (base + pages) & (size - 1) != 0)


@kernel
def lists_are_right(a: Audit, m: Machine, slot: int) -> None:
    """F-R1 for every list of a memory slot, and F-R4 for its large regions."""
    base, pages = m.vm[slot + words.SLOT_BASE], m.vm[slot + words.SLOT_PAGES]
    first = m.vm[slot + words.SLOT_FRAMES]
    has_steps(a, pages >> 2)
    for rmap in range(first, first + pages * words.FRAME_WORDS, words.FRAME_WORDS):
        if m.frame[rmap]:
            list_names_leaves(a, m, rmap, 1)
    for level in range(2, 4):
        at = m.vm[slot + words.SLOT_LARGE2] if level == 2 else m.vm[slot + words.SLOT_LARGE3]
        for index in range(region_count(base, pages, level)):
            rmap = at + index * words.FRAME_WORDS
            list_names_leaves(a, m, rmap, level)
            wanted = a.frames[rmap] + cut_edges(base, pages, level, index)
            a.frames[rmap] = 0
            count = m.frame[rmap + words.WRITE_COUNT]
            if count != wanted:
                gfn = ((base >> 9 * (level - 1)) + index) << 9 * (level - 1)
                found = report(a, au.R4, -1, gfn, count, wanted, level)
                watched(a, found, au.WATCH_FRAME, rmap + words.WRITE_COUNT)


@kernel
def count_shadowed(a: Audit, m: Machine, sp: int) -> None:
    """Count a shadowed table in its large regions, for F-R4."""
    if not is_indirect(m, sp) or slot_of(m, m.page[sp + words.GFN]) == 0:
        return
    for level in range(2, 4):
        a.frames[large_region(m, m.page[sp + words.GFN], level)] += 1


@kernel
def gauge_counts_large_leaves(a: Audit, m: Machine, large: int) -> None:
    """F-C1: lpages is the number of large leaves."""
    if m.vm[words.LPAGES] != large:
        found = report(a, au.C1, -1, 0, m.vm[words.LPAGES], large, 0)
        watched(a, found, au.WATCH_VM, words.LPAGES)

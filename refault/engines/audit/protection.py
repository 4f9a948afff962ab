"""F-W and F-R5: who may write to a shadowed table (specification, part F, "Write protection")."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import (
    canonical,
    has_steps,
    is_indirect,
    is_poked,
    tlb_entry,
    uses_tlb,
)
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.arch.guest import read_gpte, slot_of
from refault.engines.shadow.kvm.parents import level_of, page_of, quadrant_of, table_of
from refault.engines.shadow.kvm.ptwrite import table_entry_size
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import rmap_of
from refault.engines.shadow.kvm.zap import hash_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def synced_table(a: Audit, m: Machine, gfn: int) -> int:
    """A valid page that shadows the table ``gfn`` and counts as in sync, or 0."""
    sp = m.vm[hash_of(gfn)]
    left = m.vm[words.ACTIVE] + 1
    while sp and left and has_steps(a, 1):
        left -= 1
        if m.page[sp + words.GFN] == gfn and is_indirect(m, sp) and not m.page[sp + words.UNSYNC]:
            return sp
        sp = m.page[sp + words.HASH_NEXT]
    return 0


@kernel
def leaf_is_read_only(a: Audit, m: Machine, gfn: int, sptep: int) -> None:
    """F-W1, F-R5: one listed leaf of a table's frame."""
    spte = m.spt[sptep]
    if not spte & x86.PRESENT or not spte & x86.WRITABLE:
        return
    check = au.R5 if level_of(m, page_of(sptep)) > 1 else au.W1
    watched(a, report(a, check, -1, gfn, spte, 0, sptep), au.WATCH_SPT, sptep)


@kernel
def no_leaf_writes_to_a_table(a: Audit, m: Machine, sp: int) -> None:
    """F-W1 and F-R5 in the tables: of a page in sync, every mapping of its table."""
    gfn = m.page[sp + words.GFN]
    if not is_indirect(m, sp) or m.page[sp + words.UNSYNC] or slot_of(m, gfn) == 0:
        return
    for level in range(1, 4):
        first = m.frame[rmap_of(m, gfn, level)]
        if first > 0:
            leaf_is_read_only(a, m, gfn, first)
        node = -first if first < 0 else 0
        while node and has_steps(a, 1):
            for i in range(words.RMAP_EXT):
                if m.link[node + i]:
                    leaf_is_read_only(a, m, gfn, m.link[node + i])
            node = m.link[node + words.LINK_NEXT]


@kernel
def tlb_entry_is_read_only(a: Audit, m: Machine, vcpu: int, key: int, data: int) -> None:
    """F-W1 in one entry of a TLB: it writes to no table in sync."""
    if not data & x86.WRITABLE:
        return
    level = key >> tlb.LEVEL_SHIFT & 3
    first = (data & tlb.FRAME_MASK) >> x86.PAGE_SHIFT
    for gfn in range(first, first + (1 << 9 * (level - 1))):
        sp = synced_table(a, m, gfn)
        if sp:
            gva = canonical((key & tlb.PAGE_OF_GVA) << x86.PAGE_SHIFT)
            report(a, au.W1, vcpu, gva, data, 0, gfn)
            return


@kernel
def no_tlb_writes_to_a_table(a: Audit, m: Machine, vcpu: int) -> None:
    """F-W1 in a TLB that its vCPU may still use."""
    cpu = cpu_of(vcpu)
    if not uses_tlb(m, cpu):
        return
    base = tlb.tlb_of(cpu)
    for group in range(base, base + tlb.NEXT_WAY, tlb.SET_WORDS):
        for place in range(group, group + tlb.WAYS):
            data = tlb_entry(m, cpu, place)
            if data and has_steps(a, 1):
                tlb_entry_is_read_only(a, m, vcpu, m.tlb[place], data)


@kernel
def unsync_page_is_of_the_right_kind(a: Audit, m: Machine, sp: int) -> int:
    """F-W2, F-W4: of a page out of sync; answers 1 if it is one."""
    if not m.page[sp + words.UNSYNC]:
        return 0
    gfn = m.page[sp + words.GFN]
    if level_of(m, sp) != 1 or not is_indirect(m, sp):
        found = report(a, au.W2, -1, gfn, m.page[sp + words.ROLE], 0, 0)
        watched(a, found, au.WATCH_PAGE, sp + words.UNSYNC)
    alone = m.vm[words.KNOB_UNSYNC_ROLES] == values.UNSYNC_ROLES_ONE
    other = m.vm[hash_of(gfn)]
    left = m.vm[words.ACTIVE] + 1
    while other and left and has_steps(a, 1):
        left -= 1
        is_other = other != sp and m.page[other + words.GFN] == gfn
        # From 2.6.36 on all level-1 pages of a table may be out of sync together.
        is_other = is_other and (alone or level_of(m, other) > 1)
        if is_other and not m.page[other + words.ROLE] & words.ROLE_DIRECT:
            found = report(a, au.W2, -1, gfn, m.page[other + words.ROLE], 0, 1)
            watched(a, found, au.WATCH_PAGE, sp + words.UNSYNC)
        other = m.page[other + words.HASH_NEXT]
    if m.vm[words.TRAP] != m.vm[words.NOTRAP]:
        table = table_of(sp)
        for sptep in range(table, table + x86.ENTRIES):
            if m.spt[sptep] == m.vm[words.NOTRAP]:
                watched(a, report(a, au.W4, -1, gfn, sptep & 511, 0, 0), au.WATCH_SPT, sptep)
                break
    return 1


@kernel
def hidden_entries_are_absent(a: Audit, m: Machine, sp: int) -> None:
    """F-W4 of a page in sync: the guest has no entry where a fault does not come to the host."""
    if m.vm[words.TRAP] == m.vm[words.NOTRAP] or not is_indirect(m, sp):
        return
    gfn = m.page[sp + words.GFN]
    is_kept = not m.page[sp + words.UNSYNC] and not m.page[sp + words.ROLE] & words.ROLE_INVALID
    if not is_kept or is_poked(a, gfn) or slot_of(m, gfn) == 0:
        return
    size = table_entry_size(m, sp)
    gpa = gfn << x86.PAGE_SHIFT
    if size == 4:
        gpa += quadrant_of(m, sp) << 11
    table = table_of(sp)
    for i in range(x86.ENTRIES):
        if m.spt[table + i] != m.vm[words.NOTRAP]:
            continue
        gpte = read_gpte(m, gpa + i * size, size)
        if gpte & x86.PRESENT:
            found = report(a, au.W4, -1, gfn, i, gpte, 0)
            watched(a, found, au.WATCH_SPT, table + i)
            watched(a, found, au.WATCH_GUEST, (gpa + i * size) & ~7)
            return


@kernel
def gauge_counts_unsync_pages(a: Audit, m: Machine, count: int) -> None:
    """F-W3: mmu_unsync is the number of pages out of sync."""
    if m.vm[words.UNSYNC_PAGES] != count:
        found = report(a, au.W3, -1, 0, m.vm[words.UNSYNC_PAGES], count, 0)
        watched(a, found, au.WATCH_VM, words.UNSYNC_PAGES)

"""F-T1 to F-T4 and F-T6: what shadow tables and TLBs translate, against the guest's tables.

One walk goes down the shadow tables of a vCPU and the guest's own at the same time::

    root ─► shadow entry i ─► …     CR3 ─► guest entry for the same address ─► …

so that each guest entry is read once for the shadow entry that stands for it. Below a large guest
page the shadow may be finer; addresses are then linear.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.audit import words as au
from refault.engines.audit.evidence import plain_large_page, reserved_from_the_start
from refault.engines.audit.found import report, watched
from refault.engines.audit.outcome import flushed_at, now_gives, older, was_allowed
from refault.engines.audit.paging import (
    entry_at,
    find_leaf,
    frame_mask,
    leaf_address,
    place_of,
    top_table,
)
from refault.engines.audit.shadow import (
    LOW_BITS,
    canonical,
    has_steps,
    is_indirect,
    is_poked,
    shadow_leaf,
    tlb_entry,
    uses_tables,
    uses_tlb,
)
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.kvm import requests
from refault.engines.shadow.kvm.parents import child_of, level_of, table_of
from refault.engines.shadow.kvm.rmap import eight_are, is_present
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.walk import words as arch
from refault.engines.walk.paging import cpu_of, levels_of, reserved_of
from refault.engines.walk.paging import is_leaf as is_guest_leaf
from refault.engines.walk.words import Machine as Guest
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel

# How a leaf exceeds the guest's tables: bits of a finding's detail
ABSENT = 1
RESERVED = 2
ELSEWHERE = 4
WRITES = 8
WRITES_CLEAN = 16
USER = 32
FETCHES = 64
BEHIND_TABLE = 128  # the shadow has a large leaf where the guest has a table
BELOW_LARGE = 1 << 16  # below a large guest page
OUT_OF_SYNC = 1 << 17
OLDER = 1 << 18  # its value stood before the entry above it
ABOVE = 1 << 19  # the guest's entries above its leaf refuse it
BEYOND_ROLE = 1 << 20  # the page's own role refuses it
PLACE_SHIFT = 24  # and above: the place of the shadow entry


@kernel
def excess(a: Audit, g: Guest, cpu: int, spte: int, frame: int) -> int:
    """By what a leaf exceeds the guest's (``LEAF_*``); 0 if by nothing."""
    s = a.state
    if not s[au.LEAF_FOUND]:
        return RESERVED if s[au.LEAF_CODE] else ABSENT
    if s[au.LEAF_ADDRESS] != frame:
        return ELSEWHERE
    how = 0
    if levels_of(g, cpu) == x86.NONPAGING:
        return 0
    grants = s[au.LEAF_GRANTS]
    if spte & x86.USER and not grants & x86.USER:
        how |= USER
    if spte & x86.WRITABLE:
        exempt = not g.state[cpu + arch.CR0] & x86.CR0_WP and not spte & x86.USER
        if not grants & x86.WRITABLE and not exempt:
            how |= WRITES
        if not s[au.LEAF_DIRTY]:
            how |= WRITES_CLEAN
    if spte >= 0 and not s[au.LEAF_EXEC]:
        how |= FETCHES
    return how


@kernel
def one_was_allowed(
    a: Audit, g: Guest, vcpu: int, gva: int, frame: int, kind: int, user: int
) -> bool:
    """Might an access reach ``frame`` at ``gva``, now or by what was read since the last flush?"""
    write, fetch = int(kind == 1), int(kind == 2)
    if now_gives(a, g, vcpu, gva, write, user, fetch) == frame:
        return True
    return was_allowed(a, g, vcpu, gva, write, user, fetch, out.OK, frame)


@kernel
def not_allowed(a: Audit, g: Guest, vcpu: int, gva: int, spte: int, frame: int) -> int:
    """What a leaf grants that the tables never gave since the last flush; 0 if nothing."""
    user = int(spte & x86.USER != 0)
    # What user mode may do, the supervisor may.
    if not one_was_allowed(a, g, vcpu, gva, frame, 0, user):
        is_of_user = user and one_was_allowed(a, g, vcpu, gva, frame, 0, 0)
        return USER if is_of_user else ELSEWHERE
    how = 0
    if spte & x86.WRITABLE and not one_was_allowed(a, g, vcpu, gva, frame, 1, user):
        how |= WRITES
    if spte >= 0 and not one_was_allowed(a, g, vcpu, gva, frame, 2, user):
        how |= FETCHES
    return how


@kernel
def is_older_than_its_table(a: Audit, g: Guest, vcpu: int, gva: int) -> int:
    """OLDER if an entry above the leaf of ``gva`` began to stand after the last flush."""
    cpu = cpu_of(vcpu)
    levels = levels_of(g, cpu)
    table = top_table(g, cpu, levels, gva)
    level = 2 if levels == x86.PAE_LEVELS else levels
    while table >= 0 and level > 1:  # one iteration per level
        gpa = place_of(levels, level, table, gva)
        if older(a, gpa & ~7, 0, flushed_at(a, vcpu, gva, 0)):
            return OLDER
        table = entry_at(g, levels, gpa) & frame_mask(levels)
        level -= 1
    return 0


@kernel
def tell_leaf(a: Audit, check: int, vcpu: int, gva: int, spte: int, how: int, sptep: int) -> None:
    """Report a leaf; what should be is the guest's translation now."""
    s = a.state
    want = s[au.LEAF_ADDRESS] if s[au.LEAF_FOUND] else -1 - s[au.LEAF_CODE]
    entry = s[au.LEAF_ENTRY]
    found = report(a, check, vcpu, gva, spte, want, how | sptep << PLACE_SHIFT)
    if sptep:
        watched(a, found, au.WATCH_SPT, sptep)
    if entry >= 0:
        watched(a, found, au.WATCH_GUEST, entry & ~7)


@kernel
def check_leaf(
    a: Audit, m: Machine, g: Guest, vcpu: int, gva: int, sp: int, sptep: int, grants: int
) -> None:
    """F-T1 (a page in sync), F-T2 (right after a sync) or F-T3, F-U5 (out of sync).

    ``LEAF_*`` hold the guest's leaf.
    """
    s = a.state
    spte = m.spt[sptep]
    spte &= grants | ~x86.PERMISSIONS
    inside = (1 << (3 + 9 * level_of(m, sp))) - 1
    frame = spte & x86.FRAME_MASK & ~inside
    how = excess(a, g, cpu_of(vcpu), spte, frame)
    if how == 0:
        return
    if m.page[sp + words.ROLE] & words.ROLE_DIRECT:
        how |= BELOW_LARGE
    above, may_fetch = s[au.RIGHTS + level_of(m, sp)], s[au.EXEC + level_of(m, sp)]
    if (
        (how & WRITES and not above & x86.WRITABLE)
        or (how & USER and not above & x86.USER)
        or (how & FETCHES and not may_fetch)
    ):
        how |= ABOVE
    role = m.page[sp + words.ROLE] >> words.ROLE_ACCESS_SHIFT
    if (
        (how & WRITES and not role & words.ACC_WRITE)
        or (how & USER and not role & words.ACC_USER)
        or (how & FETCHES and not role & words.ACC_EXEC)
    ):
        how |= BEYOND_ROLE
    check = au.T2 if s[au.SYNCED] == vcpu else au.T1
    queued = m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_QUEUED
    if check == au.T2:
        if m.page[sp + words.UNSYNC] and g.state[cpu_of(vcpu) + arch.CR4] & x86.CR4_PGE:
            # A load of CR3 leaves what is global.
            if not_allowed(a, g, vcpu, gva, spte, frame) == 0:
                return
            find_leaf(a, g, vcpu, gva)
    elif m.page[sp + words.UNSYNC] or queued:
        if s[au.LEVEL] == au.SAMPLED:
            return  # what older values may be used is not known
        never = not_allowed(a, g, vcpu, gva, spte, frame)
        if never == 0:
            return
        find_leaf(a, g, vcpu, gva)
        if not how & (ABSENT | RESERVED) or never != ELSEWHERE:
            how = never | (how & (BELOW_LARGE | ABOVE | BEYOND_ROLE))
        how |= OUT_OF_SYNC
        if never == ELSEWHERE:
            how |= is_older_than_its_table(a, g, vcpu, gva)
        check = au.U5 if how & OLDER else au.T3
    if how & RESERVED:
        how |= reserved_from_the_start(a, g, vcpu, gva)
    elif how & BELOW_LARGE and how & ELSEWHERE:
        how |= plain_large_page(a, g, vcpu, gva)
    tell_leaf(a, check, vcpu, gva, spte, how, sptep)


@kernel
def guest_entry(a: Audit, g: Guest, cpu: int, levels: int, level: int, gva: int) -> int:
    """Read the guest's entry for a shadow entry of ``level``; fills ``LEAF_*`` so far.

    1: it leads to a table, whose place is in ``LEAF_ADDRESS``. 0: it is a leaf, or there is none.
    """
    s = a.state
    s[au.LEAF_CODE], s[au.LEAF_DIRTY] = 0, s[au.DIRTY + level] & 1
    s[au.LEAF_GRANTS], s[au.LEAF_EXEC] = s[au.RIGHTS + level], s[au.EXEC + level]
    if s[au.LINEAR + level] >= 0:
        s[au.LEAF_FOUND] = 1
        s[au.LEAF_ADDRESS] = s[au.LINEAR + level] + gva - s[au.GVA + level]
        return 0
    s[au.LEAF_FOUND] = 0
    if s[au.TABLE + level] < 0:
        s[au.LEAF_CODE] = -1 - s[au.TABLE + level]
        return 0
    gpa = place_of(levels, level, s[au.TABLE + level], gva)
    s[au.LEAF_ENTRY] = gpa
    entry = entry_at(g, levels, gpa)
    if not entry & x86.PRESENT:
        return 0
    leaf = is_guest_leaf(g, cpu, levels, level, entry)
    if entry & reserved_of(g, cpu, levels, level, leaf):
        s[au.LEAF_CODE] = x86.PF_PRESENT | x86.PF_RSVD
        return 0
    s[au.LEAF_GRANTS] &= entry
    if levels != x86.LEGACY_LEVELS and entry < 0:
        s[au.LEAF_EXEC] = 0
    if not leaf:
        s[au.LEAF_ADDRESS] = entry & frame_mask(levels)
        return 1
    s[au.LEAF_FOUND], s[au.LEAF_DIRTY] = 1, entry >> 6 & 1
    s[au.LEAF_ADDRESS] = leaf_address(levels, level, entry, gva)
    return 0


@kernel
def descend(a: Audit, level: int, child: int, gva: int, is_table: int, grants: int) -> None:
    """Put the page below on the stack, with what the guest's walk has found so far."""
    s = a.state
    below = level - 1
    s[au.AT + below], s[au.INDEX + below], s[au.GVA + below] = table_of(child), 0, gva
    s[au.RIGHTS + below], s[au.EXEC + below] = s[au.LEAF_GRANTS], s[au.LEAF_EXEC]
    s[au.DIRTY + below] = s[au.LEAF_DIRTY]
    s[au.LINKS + below] = grants
    s[au.LINEAR + below] = -1
    if is_table:
        s[au.TABLE + below] = s[au.LEAF_ADDRESS]
    elif s[au.LEAF_FOUND]:
        s[au.TABLE + below] = -1
        s[au.LINEAR + below] = s[au.LEAF_ADDRESS]
    else:
        s[au.TABLE + below] = -1 - s[au.LEAF_CODE]


@kernel
def leaves_grant_no_more(
    a: Audit, m: Machine, g: Guest, vcpu: int, root: int, first_gva: int
) -> None:
    """F-T1, F-T3, F-U5: all leaves below one root of a vCPU."""
    s = a.state
    cpu = cpu_of(vcpu)
    levels = levels_of(g, cpu)
    top = level_of(m, root)
    level = top
    trap, notrap = m.vm[words.TRAP], m.vm[words.NOTRAP]
    s[au.LEAF_GRANTS], s[au.LEAF_EXEC], s[au.LEAF_DIRTY] = x86.PERMISSIONS, 1, 1
    s[au.LEAF_FOUND], s[au.LEAF_CODE] = 0, 0
    if levels == x86.NONPAGING:
        s[au.LEAF_FOUND], s[au.LEAF_ADDRESS] = 1, first_gva
        descend(a, top + 1, root, first_gva, 0, x86.PERMISSIONS)
    else:
        table = top_table(g, cpu, levels, first_gva)
        s[au.LEAF_ADDRESS] = table
        descend(a, top + 1, root, first_gva, int(table >= 0), x86.PERMISSIONS)
    while level <= top and has_steps(a, 1):
        i = s[au.INDEX + level]
        if i == x86.ENTRIES:
            level += 1
            continue
        sptep = s[au.AT + level] + i
        if i & 7 == 0 and (eight_are(m, sptep, trap) or eight_are(m, sptep, notrap)):
            s[au.INDEX + level] = i + 8
            continue
        s[au.INDEX + level] = i + 1
        spte = m.spt[sptep]
        if not is_present(m, spte) or not spte & x86.PRESENT:
            continue
        sp = sptep >> 10 << 5
        gva = s[au.GVA + level] + (i << (3 + 9 * level))
        shown = canonical(gva) if top == x86.LONG_LEVELS else gva
        is_table = guest_entry(a, g, cpu, levels, level, gva)
        if level > 1 and not spte & x86.LARGE:
            child = child_of(spte)
            stale = is_indirect(m, child) and is_poked(a, m.page[child + words.GFN])
            if stale or m.page[child + words.FREED] or level_of(m, child) != level - 1:
                continue
            descend(a, level, child, gva, is_table, s[au.LINKS + level] & spte)
            level -= 1
            continue
        if is_table:
            s[au.LEAF_FOUND], s[au.LEAF_CODE] = 0, 0
            tell_leaf(a, au.T1, vcpu, shown, spte, BEHIND_TABLE, sptep)
            continue
        check_leaf(a, m, g, vcpu, shown, sp, sptep, s[au.LINKS + level])


@kernel
def tables_translate_as_the_guest_does(a: Audit, m: Machine, g: Guest, vcpu: int) -> None:
    """F-T1, F-T3, F-U5: below all roots of a vCPU that owes no sync."""
    cpu = requests.cpu_of(vcpu)
    vm = m.vm
    if not uses_tables(m, cpu):
        return
    if vm[cpu + words.ROOT] != words.PAE_LOADED:
        root = vm[cpu + words.ROOT]
        if not is_poked(a, m.page[root + words.GFN]):
            leaves_grant_no_more(a, m, g, vcpu, root, 0)
        return
    for i in range(4):
        root = vm[cpu + words.PAE_ROOTS + i]
        is_stale = root and is_indirect(m, root) and is_poked(a, m.page[root + words.GFN])
        if root and not is_stale:
            leaves_grant_no_more(a, m, g, vcpu, root, i << 30)


@kernel
def tlb_translates_as_the_guest_did(a: Audit, m: Machine, g: Guest, vcpu: int) -> None:
    """F-T6 and F-T6b: the entries of a TLB that its vCPU may still use."""
    cpu = requests.cpu_of(vcpu)
    if not uses_tlb(m, cpu):
        return
    base = tlb.tlb_of(cpu)
    for group in range(base, base + tlb.NEXT_WAY, tlb.SET_WORDS):
        for place in range(group, group + tlb.WAYS):
            data = tlb_entry(m, cpu, place)
            if data and has_steps(a, 1):
                check_tlb_entry(a, m, g, vcpu, m.tlb[place], data)


@kernel
def check_tlb_entry(a: Audit, m: Machine, g: Guest, vcpu: int, key: int, data: int) -> None:
    """F-T6 and F-T6b: one entry."""
    s = a.state
    cpu = requests.cpu_of(vcpu)
    level = key >> tlb.LEVEL_SHIFT & 3
    low = (key & tlb.PAGE_OF_GVA) << x86.PAGE_SHIFT
    gva = canonical(low) if levels_of(g, cpu_of(vcpu)) == x86.LONG_LEVELS else low
    for larger in range(level + 1, 4):
        other = m.vm[cpu + words.TLB_KEY] | tlb.page_key(low, larger)
        if tlb.data_of(m, tlb.set_of(cpu, low, larger), other):
            watched(
                a,
                report(a, au.T6B, vcpu, gva, level, larger, 0),
                au.WATCH_SPT,
                shadow_leaf(m, cpu, low),
            )
    frame = data & tlb.FRAME_MASK
    spte = data & (x86.PRESENT | x86.PERMISSIONS) | frame
    if not data & x86.NX:  # inverted in a TLB
        spte |= x86.NX
    find_leaf(a, g, vcpu, gva)
    how = excess(a, g, cpu_of(vcpu), spte, frame)
    if how == 0 or how == WRITES_CLEAN or s[au.LEVEL] == au.SAMPLED:
        return
    if not_allowed(a, g, vcpu, gva, spte, frame) == 0:
        return
    find_leaf(a, g, vcpu, gva)
    tell_leaf(a, au.T6, vcpu, gva, spte, how, shadow_leaf(m, cpu, low))


@kernel
def invalidated_leaf_is_right(a: Audit, m: Machine, g: Guest, vcpu: int, gva: int) -> None:
    """F-T4: right after INVLPG the leaf of the address is absent or correct."""
    cpu = requests.cpu_of(vcpu)
    if not uses_tables(m, cpu):
        return
    low = gva & LOW_BITS
    sptep = shadow_leaf(m, cpu, low)
    if sptep == 0:
        return
    sp = sptep >> 10 << 5
    if is_indirect(m, sp) and is_poked(a, m.page[sp + words.GFN]):
        return
    inside = (1 << (3 + 9 * level_of(m, sp))) - 1
    frame = (m.spt[sptep] & x86.FRAME_MASK & ~inside) | (gva & inside & ~0xFFF)
    find_leaf(a, g, vcpu, gva & ~0xFFF)
    how = excess(a, g, cpu_of(vcpu), m.spt[sptep], frame)
    if how:
        tell_leaf(a, au.T4, vcpu, gva, m.spt[sptep], how, sptep)

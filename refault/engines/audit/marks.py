"""F-U1 to F-U4: marks of out-of-sync pages (specification, part F, "Write protection and unsync").

F-U2 and F-U3 fail in the base by design, and hold from the patches on that need them: they are
checked under those only.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.shadow import has_steps, is_leaf
from refault.engines.audit.words import Audit
from refault.engines.shadow.kvm.parents import child_of, level_of, page_of, table_of
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.kvm.unsync import climb_from, next_parent, synced_at
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

#: Links that one climb follows; the rest of a larger host is left to the sweeps.
WAYS_MAX = 1 << 12


@kernel
def is_marked(m: Machine, sptep: int) -> bool:
    """Does the page that holds this link say that the pages below it may be out of sync?"""
    sp = page_of(sptep)
    index = sptep & 511
    bit = m.page[sp + words.BITMAP + (index >> 5)] >> (index & 31) & 1
    return bool(bit and m.page[sp + words.UNSYNC_CHILDREN] > 0)


@kernel
def next_sync_finds(a: Audit, m: Machine, vcpu: int, unsync: int) -> None:
    """F-U1 without marks: the page went out of sync, or a link was made, after the last sync."""
    since = synced_at(m, cpu_of(vcpu))
    if m.page[unsync + words.EPOCH] > since or m.vm[words.LINK_EPOCH] > since:
        return
    gfn = m.page[unsync + words.GFN]
    found = report(a, au.U1, vcpu, gfn << 9, since, m.page[unsync + words.EPOCH], au.NO_MARKS)
    watched(a, found, au.WATCH_PAGE, unsync + words.UNSYNC)
    watched(a, found, au.WATCH_PAGE, unsync + words.EPOCH)


@kernel
def path_is_marked(a: Audit, m: Machine, vcpu: int, level: int, top: int, check_reach: int) -> None:
    """F-U1 (and F-U4): the links from the root to the out-of-sync page below ``level``."""
    s = a.state
    unsync = child_of(m.spt[s[au.AT + level]])
    if m.page[unsync + words.ALL_GLOBAL]:
        return  # 2.6.29 neither marks the way to a page of global entries nor syncs it here
    if check_reach:
        found = report(a, au.U4, vcpu, m.page[unsync + words.GFN], 0, 0, 0)
        watched(a, found, au.WATCH_PAGE, unsync + words.UNSYNC)
    if m.vm[words.KNOB_SYNC_SCOPE] == values.SYNC_SCOPE_CHANGED:
        next_sync_finds(a, m, vcpu, unsync)
        return
    below_is_marked = 0
    for above in range(level, top + 1):
        sptep = s[au.AT + above]
        if is_marked(m, sptep):
            below_is_marked = 1
            continue
        sp = page_of(sptep)
        index = sptep & 511
        place = m.page[sp + words.GFN] << 9 | index
        gfn = m.page[unsync + words.GFN]
        found = report(a, au.U1, vcpu, place, above, below_is_marked, gfn)
        watched(a, found, au.WATCH_PAGE, sp + words.BITMAP + (index >> 5))
        watched(a, found, au.WATCH_PAGE, unsync + words.UNSYNC)
        watched(a, found, au.WATCH_SPT, sptep)


@kernel
def ways_to_unsync_pages_are_marked(
    a: Audit, m: Machine, vcpu: int, root: int, check_reach: int
) -> None:
    """F-U1: walk down from a root over all links; F-U4 too if ``check_reach``."""
    s = a.state
    top = level_of(m, root)
    level = top
    s[au.AT + level] = table_of(root) - 1
    while level <= top and has_steps(a, 1):
        s[au.AT + level] += 1
        sptep = s[au.AT + level]
        if sptep & (words.SPT_WORDS - 1) == x86.ENTRIES:  # behind the last entry of its page
            level += 1
            continue
        spte = m.spt[sptep]
        if not is_present(m, spte) or is_leaf(m, page_of(sptep), spte):
            continue
        child = child_of(spte)
        if level_of(m, child) != level - 1 or m.page[child + words.FREED]:
            continue  # F-S7 tells of it
        if level == 2:
            if m.page[child + words.UNSYNC]:
                path_is_marked(a, m, vcpu, level, top, check_reach)
            continue
        level -= 1
        s[au.AT + level] = table_of(child) - 1


@kernel
def marks_cover_unsync_pages(a: Audit, m: Machine, vcpu: int, check_reach: int) -> None:
    """F-U1 and F-U4 below all roots of a vCPU."""
    vm = m.vm
    cpu = cpu_of(vcpu)
    if vm[cpu + words.ROOT] == 0 or not vm[words.UNSYNC_PAGES]:
        return
    if vm[cpu + words.ROOT] != words.PAE_LOADED:
        ways_to_unsync_pages_are_marked(a, m, vcpu, vm[cpu + words.ROOT], check_reach)
        return
    for i in range(4):
        if vm[cpu + words.PAE_ROOTS + i]:
            root = vm[cpu + words.PAE_ROOTS + i]
            ways_to_unsync_pages_are_marked(a, m, vcpu, root, check_reach)


@kernel
def count_is_exact(a: Audit, m: Machine, sp: int) -> None:
    """F-U2, from ebdea63 on: unsync_children is the number of marks."""
    if m.vm[words.KNOB_UNSYNC_COUNT] != values.UNSYNC_COUNT_EXACT or level_of(m, sp) == 1:
        return
    count = 0
    for word in range(sp + words.BITMAP, sp + words.BITMAP + 16):
        bits = m.page[word]
        while bits:  # 32 bits
            bits &= bits - 1
            count += 1
    if count != m.page[sp + words.UNSYNC_CHILDREN]:
        gfn = m.page[sp + words.GFN]
        found = report(a, au.U2, -1, gfn, m.page[sp + words.UNSYNC_CHILDREN], count, 0)
        watched(a, found, au.WATCH_PAGE, sp + words.UNSYNC_CHILDREN)


@kernel
def parents_are_marked(a: Audit, m: Machine, sp: int) -> None:
    """F-U3, where marks are cleared at once: every link to a page with marks is marked."""
    if m.vm[words.KNOB_UNSYNC_CLEAR] != values.UNSYNC_CLEAR_AT_ONCE:
        return
    if level_of(m, sp) == 1:
        return
    table = table_of(sp)
    for sptep in range(table, table + x86.ENTRIES):
        spte = m.spt[sptep]
        if not is_present(m, spte) or is_leaf(m, sp, spte):
            continue
        child = child_of(spte)
        if m.page[child + words.UNSYNC_CHILDREN] and not is_marked(m, sptep):
            gfn = m.page[child + words.GFN]
            found = report(a, au.U3, -1, gfn, sptep & 511, m.page[sp + words.GFN], 0)
            watched(a, found, au.WATCH_PAGE, sp + words.BITMAP + ((sptep & 511) >> 5))


@kernel
def ways_up_are_marked(m: Machine, sp: int) -> bool:
    """Is every link on every way up from a page marked? So many ways are looked at."""
    depth = 0
    climb_from(m, 0, sp)
    for _ in range(WAYS_MAX):
        sptep = next_parent(m, depth)
        if sptep == 0:
            depth -= 1
            if depth < 0:
                return True
            continue
        if not is_marked(m, sptep):
            return False
        depth += 1
        climb_from(m, depth, page_of(sptep))
    return True


@kernel
def is_marked_upwards(a: Audit, m: Machine, sp: int) -> bool:
    """The same, with the host's own stack, which is left as it was."""
    if m.vm[words.KNOB_SYNC_SCOPE] == values.SYNC_SCOPE_CHANGED:
        return bool(m.page[sp + words.EPOCH] == m.vm[words.CHANGE_EPOCH])
    s, vm = a.state, m.vm
    for depth in range(4):
        s[au.KEPT_SP + depth] = vm[words.STACK_SP + depth]
        s[au.KEPT_INDEX + depth] = vm[words.STACK_INDEX + depth]
    are_marked = ways_up_are_marked(m, sp)
    for depth in range(4):
        vm[words.STACK_SP + depth] = s[au.KEPT_SP + depth]
        vm[words.STACK_INDEX + depth] = s[au.KEPT_INDEX + depth]
    return are_marked


@kernel
def new_unsync_page_is_marked(a: Audit, m: Machine) -> None:
    """F-U1, where an operation has just let a page go out of sync, at the cost of a climb.

    Only what a root reaches matters, so where a mark is missing it is looked for from the roots.
    """
    s = a.state
    if m.vm[words.UNSYNC_PAGES] <= s[au.WAS_UNSYNC]:
        return
    sp = m.vm[words.OOS_HEAD]
    if sp == 0 or m.page[sp + words.ALL_GLOBAL] or is_marked_upwards(a, m, sp):
        return
    s[au.STEPS_END] = s[au.STEPS] + au.SWEEP_STEPS
    for vcpu in range(m.vm[words.VCPU_COUNT]):
        marks_cover_unsync_pages(a, m, vcpu, 0)

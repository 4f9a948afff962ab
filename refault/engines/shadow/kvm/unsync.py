"""Which pages below a page may be out of sync: marking, walking, clearing.

Bit i of a page's bitmap says that the subtree under entry i may hold a page whose
guest table the guest can write. In 2.6.34 the marks are a superset of the truth
and ``unsync_children`` may exceed the number of bits; patch 3 relies on marks that
are left wrong in this way.
"""

from __future__ import annotations

import numpy as np

from refault.catalogue import values
from refault.engines.shadow.kvm.parents import child_of, level_of, page_of, table_of
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import INTERPRETED, kernel

# 2**n mod 37 differs for every n below 32, so it tells which single bit is set.
_BIT_NUMBERS = [0] * 37
for _bit in range(32):
    _BIT_NUMBERS[(1 << _bit) % 37] = _bit
BIT_NUMBER = _BIT_NUMBERS if INTERPRETED else np.array(_BIT_NUMBERS, np.int64)

NO_SPACE = -1


@kernel
def next_bit(m: Machine, sp: int, start: int) -> int:
    """The first set bit of the page's bitmap at or after ``start``, or 512."""
    if start >= x86.ENTRIES:
        return x86.ENTRIES
    word = start >> 5
    bits = m.page[sp + words.BITMAP + word] >> (start & 31) << (start & 31)
    while bits == 0:  # 16 words
        word += 1
        if word == 16:
            return x86.ENTRIES
        bits = m.page[sp + words.BITMAP + word]
    return (word << 5) + BIT_NUMBER[(bits & -bits) % 37]


@kernel
def clear_bit(m: Machine, sp: int, index: int) -> None:
    """Clear one bit of the page's bitmap."""
    m.page[sp + words.BITMAP + (index >> 5)] &= ~(1 << (index & 31))


@kernel
def mark_child(m: Machine, sptep: int) -> int:
    """Set the bit of one parent's entry. 1: continue with the parent's own parents."""
    m.vm[words.PARENT_MARKS] += 1
    sp = page_of(sptep)
    index = sptep & 511
    word = sp + words.BITMAP + (index >> 5)
    was_set = (m.page[word] >> (index & 31)) & 1
    had_children = m.page[sp + words.UNSYNC_CHILDREN]
    if not was_set:
        m.page[word] |= 1 << (index & 31)
        m.page[sp + words.UNSYNC_CHILDREN] = had_children + 1
    stop = m.vm[words.KNOB_PARENT_STOP]
    if (stop != values.PARENT_STOP_NOWHERE and was_set) or (
        stop == values.PARENT_STOP_AT_COUNT and had_children
    ):
        return 0
    return 1


@kernel
def climb_from(m: Machine, depth: int, sp: int) -> None:
    """Push ``sp`` on the stack, with all its parents still to visit."""
    m.vm[words.STACK_SP + depth] = m.page[sp + words.PARENTS]
    m.vm[words.STACK_INDEX + depth] = 0


@kernel
def next_parent(m: Machine, depth: int) -> int:
    """The next entry that links to the page at that depth of the stack; 0 after the last."""
    vm = m.vm
    while True:  # at most two iterations: a node of the chain holds at least one entry
        cursor = vm[words.STACK_SP + depth]
        if cursor >= 0:
            vm[words.STACK_SP + depth] = 0
            return cursor
        i = vm[words.STACK_INDEX + depth]
        if i < words.CHAIN_ENTRIES and m.link[-cursor + i]:
            vm[words.STACK_INDEX + depth] = i + 1
            return m.link[-cursor + i]
        vm[words.STACK_SP + depth] = -m.link[-cursor + words.LINK_NEXT]
        vm[words.STACK_INDEX + depth] = 0


@kernel
def mark_parents_unsync(m: Machine, sp: int) -> None:
    """Mark every ancestor of ``sp`` on every path upward (mmu.c: kvm_mmu_mark_parents_unsync).

    With PARENT_STOP_AT_BIT a path ends at a bit that is already set (patch 3), with
    PARENT_STOP_AT_COUNT also at a parent that already has marked children. Paths are as long
    as the hierarchy is deep, so a stack of four is enough. The number of paths is the product
    of the numbers of links at each level, so a guest can make it practically endless.

    With SYNC_SCOPE_CHANGED nothing is marked: the page, newest in the list, notes the epoch.
    """
    if m.vm[words.KNOB_SYNC_SCOPE] == values.SYNC_SCOPE_CHANGED:
        m.vm[words.CHANGE_EPOCH] += 1
        m.page[sp + words.EPOCH] = m.vm[words.CHANGE_EPOCH]
        return
    depth = 0
    last_mark = m.vm[words.PARENT_MARKS] + words.MARKS_MAX
    climb_from(m, 0, sp)
    while depth >= 0 and m.vm[words.PARENT_MARKS] < last_mark and goes_on(m, 1):
        sptep = next_parent(m, depth)
        if sptep == 0:
            depth -= 1
        elif mark_child(m, sptep):
            depth += 1
            climb_from(m, depth, page_of(sptep))
    if depth >= 0 and not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_ENDLESS_WALK


@kernel
def is_root_of(m: Machine, cpu: int, sp: int) -> bool:
    """Is the page one of the roots this vCPU has loaded?"""
    root = m.vm[cpu + words.ROOT]
    if root != words.PAE_LOADED:
        return sp == root
    found = False
    for i in range(4):
        found |= sp == m.vm[cpu + words.PAE_ROOTS + i]
    return found


@kernel
def reaches(m: Machine, cpu: int, sp: int, top: int) -> bool:
    """Does some path of links lead from ``top``, or from a loaded root if it is 0, to the page?

    With SYNC_SCOPE_CHANGED this climb is done instead of marking, and counted in its place.
    """
    counts = m.vm[words.KNOB_SYNC_SCOPE] == values.SYNC_SCOPE_CHANGED
    depth = 0
    left = words.MARKS_MAX
    climb_from(m, 0, sp)
    while depth >= 0 and goes_on(m, 1):
        sptep = next_parent(m, depth)
        if sptep == 0:
            depth -= 1
            continue
        left -= 1
        if left == 0:
            m.vm[words.BUG] = words.BUG_ENDLESS_WALK
            return False
        if counts:
            m.vm[words.PARENT_MARKS] += 1
        parent = page_of(sptep)
        if parent == top or (top == 0 and is_root_of(m, cpu, parent)):
            return True
        depth += 1
        climb_from(m, depth, parent)
    return False


@kernel
def has_unsync_below(m: Machine, sp: int) -> bool:
    """Does a link to this page make an out-of-sync page reachable? By the list, without marks."""
    unsync = m.vm[words.OOS_HEAD]
    while unsync and goes_on(m, 1):
        if unsync == sp or reaches(m, 0, unsync, sp):
            return True
        unsync = m.page[unsync + words.OOS_NEXT]
    return False


@kernel
def synced_at(m: Machine, cpu: int) -> int:
    """The epoch at which the loaded roots of this vCPU were last synced; 0: one never was."""
    root = m.vm[cpu + words.ROOT]
    if root != words.PAE_LOADED:
        return m.page[root + words.EPOCH]
    since = m.vm[words.CHANGE_EPOCH]
    for i in range(4):
        root = m.vm[cpu + words.PAE_ROOTS + i]
        if root:
            since = min(since, m.page[root + words.EPOCH])
    return since


@kernel
def note_synced(m: Machine, cpu: int, now: int) -> None:
    """The loaded roots of this vCPU reach no out-of-sync page at this epoch."""
    root = m.vm[cpu + words.ROOT]
    if root != words.PAE_LOADED:
        m.page[root + words.EPOCH] = now
        return
    for i in range(4):
        root = m.vm[cpu + words.PAE_ROOTS + i]
        if root:
            m.page[root + words.EPOCH] = now


@kernel
def vector_add(m: Machine, sp: int, index: int) -> int:
    """Append to the walk's vector, an unsync page only once. 1: it is full now."""
    count = m.vm[words.VEC_COUNT]
    if m.page[sp + words.UNSYNC]:
        for i in range(count):
            if m.vm[words.VEC_SP + i] == sp:
                return 0
    m.vm[words.VEC_SP + count] = sp
    m.vm[words.VEC_INDEX + count] = index
    m.vm[words.VEC_COUNT] = count + 1
    return 1 if count + 1 == words.VECTOR_SIZE else 0


@kernel
def forget_mark(m: Machine, sp: int, index: int) -> None:
    """A marked subtree is clean: clear the bit, and decrement the count if the variant does."""
    clear_bit(m, sp, index)
    if m.vm[words.KNOB_UNSYNC_COUNT] == values.UNSYNC_COUNT_EXACT:
        m.page[sp + words.UNSYNC_CHILDREN] -= 1


@kernel
def unsync_walk(m: Machine, parent: int) -> int:
    """Collect unsync pages below ``parent`` with the path to each (mmu.c: mmu_unsync_walk).

    Answers the number of leaves found, 0 if there are none, or :data:`NO_SPACE` if the
    vector is full (then the caller handles what is in it and walks again). Each page found
    is put into the vector, so a walk finds at most 15.
    """
    vm = m.vm
    vm[words.VEC_COUNT] = 0
    if m.page[parent + words.UNSYNC_CHILDREN] == 0:
        return 0
    vector_add(m, parent, 0)
    depth = 0
    sp = parent
    index = -1
    count = 0
    while goes_on(m, 1):
        index = next_bit(m, sp, index + 1)
        if index == x86.ENTRIES:
            if next_bit(m, sp, 0) == x86.ENTRIES:
                m.page[sp + words.UNSYNC_CHILDREN] = 0
            if depth == 0:
                return count
            found = count
            depth -= 1
            sp = vm[words.STACK_SP + depth]
            index = vm[words.STACK_INDEX + depth]
            count = vm[words.STACK_COUNT + depth] + found
            if found == 0:
                forget_mark(m, sp, index)
            continue
        spte = m.spt[table_of(sp) + index]
        if not is_present(m, spte) or spte & x86.LARGE:
            if vm[words.KNOB_UNSYNC_CLEAR] == values.UNSYNC_CLEAR_AT_ONCE:
                forget_mark(m, sp, index)
            continue
        child = child_of(spte)
        if m.page[child + words.UNSYNC_CHILDREN]:
            if vector_add(m, child, index):
                return NO_SPACE
            vm[words.STACK_SP + depth] = sp
            vm[words.STACK_INDEX + depth] = index
            vm[words.STACK_COUNT + depth] = count
            depth += 1
            sp = child
            index = -1
            count = 0
        elif m.page[child + words.UNSYNC]:
            count += 1
            if vector_add(m, child, index):
                return NO_SPACE
        elif vm[words.KNOB_UNSYNC_CLEAR] == values.UNSYNC_CLEAR_AT_ONCE:
            forget_mark(m, sp, index)
    return 0


@kernel
def start_path(m: Machine, parent: int) -> None:
    """Start a path, which ends at the page where the walk began."""
    m.vm[words.PATH_SP + level_of(m, parent) - 1] = 0


@kernel
def next_leaf(m: Machine, i: int) -> int:
    """Place of the next level-1 page of the vector after ``i``, noting the path to it.

    After the last one, answers the length of the vector.
    """
    vm = m.vm
    i += 1
    while i < vm[words.VEC_COUNT]:  # at most VECTOR_SIZE
        sp = vm[words.VEC_SP + i]
        level = level_of(m, sp)
        vm[words.PATH_INDEX + level - 1] = vm[words.VEC_INDEX + i]
        if level == 1:
            return i
        vm[words.PATH_SP + level - 2] = sp
        i += 1
    return i


@kernel
def clear_parents(m: Machine) -> None:
    """Clear the marks on the path of the leaf just handled, up to a page with other marks."""
    vm = m.vm
    for level in range(x86.LONG_LEVELS - 1):
        sp = vm[words.PATH_SP + level]
        if sp == 0:
            return
        m.page[sp + words.UNSYNC_CHILDREN] -= 1
        clear_bit(m, sp, vm[words.PATH_INDEX + level])
        if m.page[sp + words.UNSYNC_CHILDREN]:
            return

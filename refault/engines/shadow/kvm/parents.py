"""Back references: which shadow entries link to a page (mmu.c: parent_pte, parent_ptes).

One parent is held in the header itself. The second turns it into chains of five;
a page returns to the simple form only when its last chain is gone.
"""

from __future__ import annotations

from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def page_of(sptep: int) -> int:
    """Handle of the shadow page that holds an entry (KVM: page_header)."""
    return sptep >> 10 << 5


@kernel
def table_of(sp: int) -> int:
    """Offset of a page's 512 entries in ``spt[]``."""
    return sp << 5


@kernel
def shadow_root(m: Machine, cpu: int, gva: int) -> int:
    """The page at which a shadow walk for ``gva`` begins, or 0 where a PAE root is absent.

    It has level 4 in long mode; else the processor's four roots are pages of level 2.
    """
    root = m.vm[cpu + words.ROOT]
    if root == words.PAE_LOADED:
        return m.vm[cpu + words.PAE_ROOTS + (gva >> 30 & 3)]
    return root


@kernel
def entry_of(sp: int, level: int, gva: int) -> int:
    """The entry for ``gva`` in a page of that level, as an offset into ``spt[]``."""
    return table_of(sp) + (gva >> (3 + 9 * level) & 511)


@kernel
def child_of(spte: int) -> int:
    """Handle of the page that a link leads to."""
    return (spte & x86.FRAME_MASK) >> x86.PAGE_SHIFT


@kernel
def level_of(m: Machine, sp: int) -> int:
    """Level of a page in the shadow hierarchy, 1..4."""
    return (m.page[sp + words.ROLE] & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT


@kernel
def quadrant_of(m: Machine, sp: int) -> int:
    """Which part of a table of 4-byte entries the page shadows."""
    return (m.page[sp + words.ROLE] & words.ROLE_QUADRANT_MASK) >> words.ROLE_QUADRANT_SHIFT


@kernel
def new_link(m: Machine) -> int:
    """A zeroed 8-word node; ``reserve`` in state/machine.py ensures that there is one."""
    node = m.vm[words.LINK_FREE]
    m.vm[words.LINK_FREE] = m.link[node + words.LINK_NEXT]
    m.vm[words.LINK_FREE_COUNT] -= 1
    for i in range(words.LINK_WORDS):
        m.link[node + i] = 0
    return node


@kernel
def free_link(m: Machine, node: int) -> None:
    """Free a node."""
    m.link[node + words.LINK_NEXT] = m.vm[words.LINK_FREE]
    m.vm[words.LINK_FREE] = node
    m.vm[words.LINK_FREE_COUNT] += 1


@kernel
def add_parent(m: Machine, sp: int, sptep: int) -> None:
    """Record that the entry ``sptep`` links to ``sp``; 0 (a root) is ignored."""
    if sptep == 0:
        return
    first = m.page[sp + words.PARENTS]
    if first == 0:
        m.page[sp + words.PARENTS] = sptep
        return
    if first > 0:
        node = new_link(m)
        m.link[node] = first
        m.page[sp + words.PARENTS] = -node
    node = -m.page[sp + words.PARENTS]
    while node and goes_on(m, 1):
        if m.link[node + words.CHAIN_ENTRIES - 1] == 0:
            for i in range(words.CHAIN_ENTRIES):
                if m.link[node + i] == 0:
                    m.link[node + i] = sptep
                    return
        node = m.link[node + words.LINK_NEXT]
    node = new_link(m)
    m.link[node] = sptep
    m.link[node + words.LINK_NEXT] = -m.page[sp + words.PARENTS]
    m.page[sp + words.PARENTS] = -node


@kernel
def remove_parent(m: Machine, sp: int, sptep: int) -> None:
    """Remove one back reference; holes are closed within their chain."""
    if m.page[sp + words.PARENTS] >= 0:
        if m.page[sp + words.PARENTS] != sptep:
            m.vm[words.BUG] = words.BUG_ASSERTION
        m.page[sp + words.PARENTS] = 0
        return
    before = 0
    node = -m.page[sp + words.PARENTS]
    while node and goes_on(m, 1):
        for i in range(words.CHAIN_ENTRIES):
            if m.link[node + i] == 0:
                break
            if m.link[node + i] == sptep:
                close_hole(m, sp, before, node, i)
                return
        before = node
        node = m.link[node + words.LINK_NEXT]
    if not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_ASSERTION


@kernel
def close_hole(m: Machine, sp: int, before: int, node: int, hole: int) -> None:
    """Move the later references of a chain down by one; an empty chain is freed."""
    last = hole
    while last + 1 < words.CHAIN_ENTRIES and m.link[node + last + 1]:  # CHAIN_ENTRIES
        m.link[node + last] = m.link[node + last + 1]
        last += 1
    m.link[node + last] = 0
    if last:
        return
    after = m.link[node + words.LINK_NEXT]
    if before:
        m.link[before + words.LINK_NEXT] = after
    else:
        # -0 is 0: the last chain is gone and the page has no parent again.
        m.page[sp + words.PARENTS] = -after
    free_link(m, node)


@kernel
def first_parent(m: Machine, sp: int) -> int:
    """The first entry that links to ``sp``, or 0."""
    first = m.page[sp + words.PARENTS]
    if first >= 0:
        return first
    return m.link[-first]


@kernel
def count_parents(m: Machine, sp: int) -> int:
    """Number of entries that link to ``sp``."""
    first = m.page[sp + words.PARENTS]
    if first >= 0:
        return 1 if first else 0
    total = 0
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.CHAIN_ENTRIES):
            if m.link[node + i]:
                total += 1
        node = m.link[node + words.LINK_NEXT]
    return total

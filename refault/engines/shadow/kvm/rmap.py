"""The reverse map: from a guest frame to every shadow leaf that maps it.

One leaf is held in the frame record itself; more are in a chain of descriptors of
four. A removed leaf's hole is filled with the last leaf of the *same*
descriptor, which is why the count that triggers recycling is a lower bound.
"""

from __future__ import annotations

from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.parents import free_link, level_of, new_link, page_of
from refault.engines.shadow.kvm.requests import flush_remote_tlbs
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import inlined, kernel


@kernel
def is_present(m: Machine, spte: int) -> bool:
    """Neither "absent, tell the host" nor "absent in the guest too"."""
    return spte != m.vm[words.TRAP] and spte != m.vm[words.NOTRAP]


@inlined
def demand(m: Machine, spte: int, bits: int) -> None:
    """KVM stops (BUG_ON) where a reverse map lists an entry without those bits."""
    if spte & bits != bits and not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_LISTED_ABSENT


@kernel
def demand_whole(m: Machine, spte: int) -> None:
    """As change_pte tests it: present, not only with P set."""
    if not is_present(m, spte) and not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_LISTED_ABSENT


@inlined
def eight_are(m: Machine, sptep: int, value: int) -> bool:
    """Do the eight entries from ``sptep`` on all hold ``value``? Most of a table is absent."""
    spt = m.spt
    differs = (spt[sptep] ^ value) | (spt[sptep + 1] ^ value)
    differs |= (spt[sptep + 2] ^ value) | (spt[sptep + 3] ^ value)
    differs |= (spt[sptep + 4] ^ value) | (spt[sptep + 5] ^ value)
    differs |= (spt[sptep + 6] ^ value) | (spt[sptep + 7] ^ value)
    return differs == 0


@kernel
def large_region(m: Machine, gfn: int, level: int) -> int:
    """Offset of the record of the ``level``-sized region that holds ``gfn``; 0 without a slot."""
    slot = slot_of(m, gfn)
    if slot == 0:
        return 0
    shift = 9 * (level - 1)
    index = (gfn >> shift) - (m.vm[slot + words.SLOT_BASE] >> shift)
    base = m.vm[slot + words.SLOT_LARGE2] if level == 2 else m.vm[slot + words.SLOT_LARGE3]
    return base + index * words.FRAME_WORDS


@kernel
def rmap_of(m: Machine, gfn: int, level: int) -> int:
    """Offset of the rmap word of ``gfn`` for leaves of ``level`` (mmu.c: gfn_to_rmap)."""
    if level == 1:
        slot = slot_of(m, gfn)
        base = m.vm[slot + words.SLOT_FRAMES]
        return base + (gfn - m.vm[slot + words.SLOT_BASE]) * words.FRAME_WORDS
    return large_region(m, gfn, level)


@kernel
def rmap_add(m: Machine, sptep: int, gfn: int) -> int:
    """List a present leaf under its frame; answers 4 for each full descriptor passed."""
    if not is_present(m, m.spt[sptep]):
        return 0
    m.spt[sptep + words.GFNS] = gfn
    rmap = rmap_of(m, gfn, level_of(m, page_of(sptep)))
    first = m.frame[rmap]
    if first == 0:
        m.frame[rmap] = sptep
        return 0
    if first > 0:
        node = new_link(m)
        m.link[node] = first
        m.link[node + 1] = sptep
        m.frame[rmap] = -node
        return 0
    count = 0
    node = -first
    while m.link[node + words.RMAP_EXT - 1] and m.link[node + words.LINK_NEXT] and goes_on(m, 1):
        node = m.link[node + words.LINK_NEXT]
        count += words.RMAP_EXT
    if m.link[node + words.RMAP_EXT - 1]:
        more = new_link(m)
        m.link[node + words.LINK_NEXT] = more
        node = more
    i = 0
    while m.link[node + i]:  # RMAP_EXT: its last place is free
        i += 1
    m.link[node + i] = sptep
    return count


@kernel
def rmap_remove(m: Machine, sptep: int) -> None:
    """Take a leaf off its frame's list; the caller then overwrites the entry."""
    if not is_present(m, m.spt[sptep]):
        return
    rmap = rmap_of(m, m.spt[sptep + words.GFNS], level_of(m, page_of(sptep)))
    first = m.frame[rmap]
    if first >= 0:
        if first != sptep:
            m.vm[words.BUG] = words.BUG_ASSERTION
        m.frame[rmap] = 0
        return
    before = 0
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.RMAP_EXT):
            if m.link[node + i] == 0:
                break
            if m.link[node + i] == sptep:
                fill_hole(m, rmap, before, node, i)
                return
        before = node
        node = m.link[node + words.LINK_NEXT]
    if not m.vm[words.BUG]:
        m.vm[words.BUG] = words.BUG_ASSERTION


@kernel
def fill_hole(m: Machine, rmap: int, before: int, node: int, hole: int) -> None:
    """Fill a hole with the last leaf of its descriptor; an empty descriptor is freed."""
    last = words.RMAP_EXT - 1
    while last > hole and m.link[node + last] == 0:  # RMAP_EXT
        last -= 1
    m.link[node + hole] = m.link[node + last]
    m.link[node + last] = 0
    if last:
        return
    after = m.link[node + words.LINK_NEXT]
    if before:
        m.link[before + words.LINK_NEXT] = after
    else:
        m.frame[rmap] = -after
    free_link(m, node)


@kernel
def first_leaf(m: Machine, rmap: int) -> int:
    """The first leaf of a list, or 0."""
    first = m.frame[rmap]
    if first >= 0:
        return first
    return m.link[-first]


@kernel
def write_protect_small(m: Machine, rmap: int) -> int:
    """Clear W in every 4 KiB mapping of a list; 1 if one had it."""
    first = m.frame[rmap]
    if first >= 0:
        if first:
            demand(m, m.spt[first], x86.PRESENT)
        if first and m.spt[first] & x86.WRITABLE:
            m.spt[first] &= ~x86.WRITABLE
            return 1
        return 0
    changed = 0
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.RMAP_EXT):
            sptep = m.link[node + i]
            if sptep == 0:
                break
            demand(m, m.spt[sptep], x86.PRESENT)
            if m.spt[sptep] & x86.WRITABLE:
                m.spt[sptep] &= ~x86.WRITABLE
                changed = 1
        node = m.link[node + words.LINK_NEXT]
    return changed


@kernel
def first_writable(m: Machine, rmap: int) -> int:
    """The first writable large leaf of a list, or 0."""
    first = m.frame[rmap]
    if first >= 0:
        if first:
            demand(m, m.spt[first], x86.PRESENT | x86.LARGE)
        return first if first and m.spt[first] & x86.WRITABLE else 0
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.RMAP_EXT):
            sptep = m.link[node + i]
            if sptep == 0:
                break
            demand(m, m.spt[sptep], x86.PRESENT | x86.LARGE)
            if m.spt[sptep] & x86.WRITABLE:
                return sptep
        node = m.link[node + words.LINK_NEXT]
    return 0


@kernel
def rmap_write_protect(m: Machine, gfn: int) -> int:
    """Make every mapping of ``gfn`` read-only, removing writable large ones; 1 if any changed."""
    changed = write_protect_small(m, rmap_of(m, gfn, 1))
    for level in range(2, 4):
        rmap = large_region(m, gfn, level)
        sptep = first_writable(m, rmap)
        while sptep and goes_on(m, 1):
            rmap_remove(m, sptep)
            m.vm[words.LPAGES] -= 1
            m.spt[sptep] = m.vm[words.TRAP]
            changed = 1
            sptep = first_writable(m, rmap)
    return changed


@kernel
def rmap_unmap(m: Machine, rmap: int, for_change: int) -> int:
    """Remove every leaf of a list (mmu.c: kvm_unmap_rmapp, kvm_set_pte_rmapp). 1 if there was one.

    An absent leaf that is still listed stays listed, and KVM removes the first leaf until there
    is none. Its BUG_ON tests the whole entry if ``for_change``, else only P, which is set in
    "absent" under bypass_guest_pf.
    """
    found = 0
    sptep = first_leaf(m, rmap)
    while sptep and goes_on(m, 1):
        demand(m, m.spt[sptep], x86.PRESENT)
        if for_change:
            demand_whole(m, m.spt[sptep])
        elif not is_present(m, m.spt[sptep]) and not m.vm[words.BUG]:
            m.vm[words.BUG] = words.BUG_ENDLESS_UNMAP
        rmap_remove(m, sptep)
        m.spt[sptep] = m.vm[words.TRAP]
        found = 1
        if m.vm[words.BUG]:
            break
        sptep = first_leaf(m, rmap)
    return found


@kernel
def rmap_age(m: Machine, rmap: int) -> int:
    """Clear A on every leaf of a list (mmu.c: kvm_age_rmapp). 1 if one was set."""
    young = 0
    first = m.frame[rmap]
    if first >= 0:
        if first:
            demand(m, m.spt[first], x86.PRESENT)
        if first and m.spt[first] & x86.ACCESSED:
            m.spt[first] &= ~x86.ACCESSED
            young = 1
        return young
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.RMAP_EXT):
            sptep = m.link[node + i]
            if sptep == 0:
                break
            demand(m, m.spt[sptep], x86.PRESENT)
            if m.spt[sptep] & x86.ACCESSED:
                m.spt[sptep] &= ~x86.ACCESSED
                young = 1
        node = m.link[node + words.LINK_NEXT]
    return young


@kernel
def rmap_host_protect(m: Machine, rmap: int) -> int:
    """Clear W and SPTE_HOST_WRITEABLE in every leaf of a list. 1 if there was one."""
    first = m.frame[rmap]
    if first >= 0:
        if first == 0:
            return 0
        demand_whole(m, m.spt[first])
        m.spt[first] &= ~(x86.WRITABLE | words.HOST_WRITABLE)
        return 1
    node = -first
    while node and goes_on(m, 1):
        for i in range(words.RMAP_EXT):
            sptep = m.link[node + i]
            if sptep == 0:
                break
            demand_whole(m, m.spt[sptep])
            m.spt[sptep] &= ~(x86.WRITABLE | words.HOST_WRITABLE)
        node = m.link[node + words.LINK_NEXT]
    return 1


@kernel
def rmap_recycle(m: Machine, sptep: int, gfn: int) -> None:
    """Unmap a frame that is mapped too often, including the mapping just made."""
    rmap_unmap(m, rmap_of(m, gfn, level_of(m, page_of(sptep))), 0)
    flush_remote_tlbs(m)

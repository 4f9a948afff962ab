"""What the host does to a guest's memory: dirty logging, notifiers, limits, pressure."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.parents import table_of
from refault.engines.shadow.kvm.requests import flush_remote_tlbs, reload_remote_mmus
from refault.engines.shadow.kvm.rmap import large_region, rmap_age, rmap_host_protect, rmap_unmap
from refault.engines.shadow.kvm.tracepoints import AGE_PAGE, trace
from refault.engines.shadow.kvm.zap import change_limit, zap_all
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def slot_remove_write_access(m: Machine, slot: int) -> None:
    """Clear W in every entry, links too, of every page that has mapped the slot."""
    sp = m.vm[words.LIST_HEAD]
    while sp and goes_on(m, x86.ENTRIES):
        if m.page[sp + words.SLOT_BITMAP] >> slot & 1:
            table = table_of(sp)
            for sptep in range(table, table + x86.ENTRIES):
                if m.spt[sptep] & x86.WRITABLE:
                    m.spt[sptep] &= ~x86.WRITABLE
        sp = m.page[sp + words.LIST_NEXT]
    flush_remote_tlbs(m)


@kernel
def commit_slot(m: Machine, slot: int, default_limit: int) -> None:
    """A slot was added: adopt the default page limit unless one was set, then protect the slot."""
    if m.vm[words.LIMIT_REQUESTED] == 0:
        change_limit(m, default_limit)
    slot_remove_write_access(m, slot)


@kernel
def start_dirty_log(m: Machine, slot: int, default_limit: int) -> None:
    """Start a slot's dirty log: zap everything, and map only small pages from now on."""
    m.vm[words.SLOTS + slot * words.SLOT_WORDS + words.SLOT_LOG] = 1
    commit_slot(m, slot, default_limit)
    zap_all(m)
    reload_remote_mmus(m)


@kernel
def delete_slot(m: Machine, slot: int) -> None:
    """Take a slot's memory away (kvm_main.c: __kvm_set_memory_region, without pages).

    Every shadow page is zapped while the slot is still there, so no reverse map refers to it
    and no vCPU enters with old roots; then the slots that are left are committed.
    """
    vm = m.vm
    zap_all(m)
    if vm[words.BUG]:
        return
    reload_remote_mmus(m)
    vm[words.SLOTS + slot * words.SLOT_WORDS + words.SLOT_USED] = 0
    pages = 0
    for i in range(vm[words.SLOT_COUNT]):
        if vm[words.SLOTS + i * words.SLOT_WORDS + words.SLOT_USED]:
            pages += vm[words.SLOTS + i * words.SLOT_WORDS + words.SLOT_PAGES]
    vm[words.DEFAULT_LIMIT] = max(words.MIN_ALLOC_PAGES, pages * words.PERMILLE_PAGES // 1000)
    commit_slot(m, slot, vm[words.DEFAULT_LIMIT])


@kernel
def large_rmap(m: Machine, slot: int, gfn: int, level: int) -> int:
    """The large region's rmap as a notifier finds it: up to 2.6.35 by the offset in the slot."""
    shift = 9 * (level - 1)
    if m.vm[words.KNOB_NOTIFIER_INDEX] == values.NOTIFIER_INDEX_FRAME:
        return large_region(m, gfn, level)
    index = (gfn - m.vm[slot + words.SLOT_BASE]) >> shift
    base = m.vm[slot + words.SLOT_LARGE2] if level == 2 else m.vm[slot + words.SLOT_LARGE3]
    return base + index * words.FRAME_WORDS


@kernel
def notifier_unmap(m: Machine, gfn: int) -> int:
    """MMU notifier invalidate_page on the frame's host address; 1 if a mapping was removed."""
    slot = slot_of(m, gfn)
    if slot == 0:
        return 0
    small = m.vm[slot + words.SLOT_FRAMES] + (gfn - m.vm[slot]) * words.FRAME_WORDS
    found = rmap_unmap(m, small, 0)
    for level in range(2, 4):
        found |= rmap_unmap(m, large_rmap(m, slot, gfn, level), 0)
    trace(m, AGE_PAGE, gfn, found)
    # Leaves that a sync dropped are in no list any more, but a TLB may still have them.
    if found or m.vm[words.TLBS_DIRTY]:
        flush_remote_tlbs(m)
    return found


@kernel
def notifier_age(m: Machine, gfn: int) -> int:
    """MMU notifier clear_flush_young on the frame's host address; 1 if it was young."""
    slot = slot_of(m, gfn)
    if slot == 0:
        return 0
    small = m.vm[slot + words.SLOT_FRAMES] + (gfn - m.vm[slot]) * words.FRAME_WORDS
    young = rmap_age(m, small)
    for level in range(2, 4):
        young |= rmap_age(m, large_rmap(m, slot, gfn, level))
    trace(m, AGE_PAGE, gfn, young)
    if young:
        flush_remote_tlbs(m)
    return young


@kernel
def change_leaves(m: Machine, rmap: int, writable: int) -> None:
    """Update the leaves of one list to the host's new page (mmu.c: kvm_set_pte_rmapp)."""
    if rmap_unmap(m, rmap, 1) if writable else rmap_host_protect(m, rmap):
        flush_remote_tlbs(m)


@kernel
def notifier_change(m: Machine, gfn: int, writable: int) -> None:
    """MMU notifier change_pte: the host has another page of the same content behind a frame.

    A writable page is mapped again at the next access. A read-only one (merged pages) is
    mapped at once, without W, until a write fault breaks the sharing. Here guest frame n stays
    at host frame n. Each list that held a leaf has its own flush.
    """
    slot = slot_of(m, gfn)
    if slot == 0:
        return
    small = m.vm[slot + words.SLOT_FRAMES] + (gfn - m.vm[slot]) * words.FRAME_WORDS
    change_leaves(m, small, writable)
    for level in range(2, 4):
        change_leaves(m, large_rmap(m, slot, gfn, level), writable)
    trace(m, AGE_PAGE, gfn, 0)

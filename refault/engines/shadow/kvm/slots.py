"""What the host does to a guest's memory: dirty logging, notifiers, limits, pressure."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.dirty import (
    count_logged,
    forget_dirty,
    forget_written,
    read_dirty,
)
from refault.engines.shadow.kvm.parents import table_of
from refault.engines.shadow.kvm.requests import flush_remote_tlbs, reload_remote_mmus
from refault.engines.shadow.kvm.rmap import large_region, rmap_age, rmap_host_protect, rmap_unmap
from refault.engines.shadow.kvm.tracepoints import AGE_PAGE, trace
from refault.engines.shadow.kvm.zap import change_limit, zap_all
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.replay.records import SKIP_UNSUPPORTED
from refault.trace.format import MAX_GFN


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
    place = words.SLOTS + slot * words.SLOT_WORDS
    if not m.vm[place + words.SLOT_LOG]:
        forget_dirty(m, place)
    m.vm[place + words.SLOT_LOG] = 1
    commit_slot(m, slot, default_limit)
    zap_all(m)
    reload_remote_mmus(m)


@kernel
def stop_dirty_log(m: Machine, slot: int, default_limit: int) -> None:
    """End a slot's dirty log: the bitmap goes, and the slot is committed as after any change.

    So it is write-protected once more, and flushed. No page is zapped: what is mapped by small
    pages stays so until a fault there may map a large one over them.
    """
    m.vm[words.SLOTS + slot * words.SLOT_WORDS + words.SLOT_LOG] = 0
    commit_slot(m, slot, default_limit)


@kernel
def get_dirty_log(m: Machine, slot: int) -> int:
    """KVM_GET_DIRTY_LOG: how many frames are dirty, and which (x86.c).

    Only if one is are the slot's mappings write-protected, and the bits begin anew.
    """
    place = words.SLOTS + slot * words.SLOT_WORDS
    count = read_dirty(m, place)
    if count:
        slot_remove_write_access(m, slot)
        forget_dirty(m, place)
    return count


@kernel
def is_of_log(kind: int) -> bool:
    """Is it an operation on a slot's dirty log?"""
    is_old = kind == op.LOG or kind == op.DIRTYLOG
    return is_old or kind == op.LOG_OFF or kind == op.GET_DIRTY_LOG


@kernel
def log_operation(m: Machine, kind: int, slot: int) -> int:
    """Execute one on a slot that exists; answers an outcome, or -1 - SKIP_* if it cannot be."""
    vm = m.vm
    place = words.SLOTS + slot * words.SLOT_WORDS
    if kind == op.LOG:
        if not vm[place + words.SLOT_LOG]:
            forget_written(m, place)
        start_dirty_log(m, slot, vm[words.DEFAULT_LIMIT])
        count_logged(m)
    elif kind == op.LOG_OFF:
        stop_dirty_log(m, slot, vm[words.DEFAULT_LIMIT])
        count_logged(m)
    elif kind == op.DIRTYLOG:
        slot_remove_write_access(m, slot)
        if vm[place + words.SLOT_LOG]:
            forget_dirty(m, place)
            forget_written(m, place)
    elif not vm[place + words.SLOT_LOG]:
        return -1 - SKIP_UNSUPPORTED  # KVM has no bitmap to give
    else:
        vm[words.OUT_ADDRESS] = get_dirty_log(m, slot)
        forget_written(m, place)
        return out.RETURN
    return out.NONE


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
    count_logged(m)
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
def unmap_frame(m: Machine, slot: int, gfn: int) -> int:
    """Remove every mapping of a frame of that slot; 1 if there was one. No flush."""
    small = m.vm[slot + words.SLOT_FRAMES] + (gfn - m.vm[slot]) * words.FRAME_WORDS
    found = rmap_unmap(m, small, 0)
    for level in range(2, 4):
        found |= rmap_unmap(m, large_rmap(m, slot, gfn, level), 0)
    trace(m, AGE_PAGE, gfn, found)
    return found


@kernel
def flush_unmapped(m: Machine, found: int) -> None:
    """Flush after mappings were removed, or where a sync dropped leaves that a TLB may have.

    Such leaves are in no list any more.
    """
    if found or m.vm[words.TLBS_DIRTY]:
        flush_remote_tlbs(m)


@kernel
def notifier_unmap(m: Machine, gfn: int) -> int:
    """MMU notifier invalidate_page on the frame's host address; 1 if a mapping was removed."""
    slot = slot_of(m, gfn)
    if slot == 0:
        return 0
    found = unmap_frame(m, slot, gfn)
    flush_unmapped(m, found)
    return found


@kernel
def next_memory(m: Machine, gfn: int, end: int) -> int:
    """The first frame after ``gfn`` that lies in a slot, or ``end``."""
    vm = m.vm
    found = end
    for i in range(vm[words.SLOT_COUNT]):
        slot = words.SLOTS + i * words.SLOT_WORDS
        if vm[slot + words.SLOT_USED] and gfn < vm[slot + words.SLOT_BASE] < found:
            found = vm[slot + words.SLOT_BASE]
    return found


@kernel
def notifier_unmap_range(m: Machine, first: int, pages: int) -> int:
    """MMU notifier invalidate_range_start and _end; 1 if a mapping was removed.

    Every frame's mappings go, in the order of host addresses, which are those of frames here.
    One flush at the end serves all of them (kvm_main.c).
    """
    gfn = max(0, first)
    end = min(first + min(max(0, pages), MAX_GFN), MAX_GFN)
    found = 0
    while gfn < end and goes_on(m, 1):
        slot = slot_of(m, gfn)
        if slot == 0:
            gfn = next_memory(m, gfn, end)
            continue
        stop = min(end, m.vm[slot + words.SLOT_BASE] + m.vm[slot + words.SLOT_PAGES])
        while gfn < stop and goes_on(m, 1):
            found |= unmap_frame(m, slot, gfn)
            gfn += 1
            if m.vm[words.BUG]:
                return found
    flush_unmapped(m, found)
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

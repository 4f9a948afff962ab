"""What PVM proposes to do without an exit (virt-pvm/linux issues 13, 14, 16 and 27).

Three ideas, each a knob of its own. The guest is paravirtual: its faults, returns, loads of CR3
and flushes go through a switcher that shares memory with the host.

- FAULT_RETURN_PREFAULTS: when the guest returns from a #PF that was injected, the new entry is
  mapped before the access is tried again. Captures do not show the return, so it is taken to come
  just before the vCPU's next access to that page under the same CR3.
- TABLE_WRITE_QUEUED: no table is write protected. A store to a shadowed table is noted in a queue
  that the host applies at the guest's next flush, by a hypercall; before it handles a fault; and
  when the queue is full. Leaves of tables stay read-only here: that is how the model sees the
  stores, and it counts nothing for it.
- ROOT_PAIR_KEPT: the roots of one address space with and without the kernel's half (PTI: two
  frames that differ in bit 12 of CR3) are kept together, and switching costs no exit while nothing
  is out of sync below the other one.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of, write_guest
from refault.engines.shadow.arch.tlb import drop_all
from refault.engines.shadow.kvm.dirty import mark_page_dirty
from refault.engines.shadow.kvm.entry import put_root
from refault.engines.shadow.kvm.fault import FIXED, page_fault
from refault.engines.shadow.kvm.parents import child_of, entry_of, level_of, page_of, shadow_root
from refault.engines.shadow.kvm.ptwrite import flush_written, pte_write
from refault.engines.shadow.kvm.spte import lookup_page
from refault.engines.shadow.kvm.walk import probe, walk_addr
from refault.engines.shadow.kvm.zap import commit_zap
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

EXIT = 0
AGAIN = 1
DONE = 2

PAIR_BIT = 1 << x86.PAGE_SHIFT  # PTI: the frames of the two roots differ in it


@kernel
def refused_entry(m: Machine, cpu: int, gva: int) -> int:
    """The place of the entry that refused the latest walk, or 0 if there was no root."""
    root = shadow_root(m, cpu, gva)
    if root == 0:
        return 0
    level = level_of(m, root)
    sptep = entry_of(root, level, gva)
    while level > m.vm[words.HIT_LEVEL]:  # one iteration per level
        level -= 1
        sptep = entry_of(child_of(m.spt[sptep]), level, gva)
    return sptep


@kernel
def without_exit(
    m: Machine, cpu: int, gva: int, code: int, user: int, size: int, value: int
) -> int:
    """What a fault of that code needs: an EXIT, the access AGAIN, or nothing more (DONE)."""
    if m.vm[words.KNOB_FAULT_RETURN] == values.FAULT_RETURN_PREFAULTS and prefaults(m, cpu, gva):
        return AGAIN
    queued = m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_QUEUED
    if queued and code & x86.PF_WRITE and is_only_guarded(m, cpu, gva, code, user):
        return DONE if store_queued(m, cpu, gva, user, size, value) else EXIT
    return EXIT


# --- prefault ---------------------------------------------------------------------------------


@kernel
def note_injected(m: Machine, cpu: int, gva: int, code: int) -> None:
    """The vCPU was given a #PF: its handler will probably map the page."""
    if m.vm[words.KNOB_FAULT_RETURN] == values.FAULT_RETURN_PREFAULTS:
        m.vm[cpu + words.FAULT_GVA] = gva
        m.vm[cpu + words.FAULT_CODE] = code | x86.PF_PRESENT  # never 0
        m.vm[cpu + words.FAULT_CR3] = m.vm[cpu + words.CR3]


@kernel
def prefaults(m: Machine, cpu: int, gva: int) -> bool:
    """Is the vCPU back from a fault in this page, and did mapping it as the fault wanted work?

    Not if the guest's tables still refuse it, nor for device memory and guarded tables.
    """
    vm = m.vm
    code = vm[cpu + words.FAULT_CODE]
    is_back = code != 0 and (vm[cpu + words.FAULT_GVA] ^ gva) >> x86.PAGE_SHIFT == 0
    if not is_back or vm[cpu + words.FAULT_CR3] != vm[cpu + words.CR3]:
        return False
    if vm[words.QUEUE_COUNT]:
        apply_queue(m, cpu, 0)
        return True
    vm[cpu + words.FAULT_CODE] = 0
    write, user, fetch = code & x86.PF_WRITE, code & x86.PF_USER, code & x86.PF_FETCH
    gpa = probe(m, cpu, gva, write, user, fetch)
    if gpa < 0:
        return False
    gfn = gpa >> x86.PAGE_SHIFT
    if slot_of(m, gfn) == 0 or (write and lookup_page(m, gfn)):
        return False
    return bool(page_fault(m, cpu, gva, code) == FIXED)


# --- table writes -------------------------------------------------------------------------------


@kernel
def is_only_guarded(m: Machine, cpu: int, gva: int, code: int, user: int) -> bool:
    """Would the store need no exit if its frame were not a shadowed table?

    The leaf is there and lacks nothing but W, which the guest's dirty entry grants, and which
    neither the host nor a dirty log took.
    """
    if not code & x86.PF_PRESENT or code & x86.PF_RSVD:
        return False
    if m.vm[cpu + words.ROOT_LEVEL] == x86.NONPAGING:
        return False
    sptep = refused_entry(m, cpu, gva)
    if sptep == 0:
        return False
    spte = m.spt[sptep]
    if spte & x86.WRITABLE or not spte & words.HOST_WRITABLE or (user and not spte & x86.USER):
        return False
    level = level_of(m, page_of(sptep))
    if level > 1 and not spte & x86.LARGE:
        return False
    gpa = probe(m, cpu, gva, 1, user, 0)
    inside = (1 << (3 + 9 * level)) - 1
    if gpa < 0 or (gpa ^ (spte & x86.FRAME_MASK)) & ~inside:
        return False
    slot = slot_of(m, gpa >> x86.PAGE_SHIFT)
    if slot == 0 or m.vm[slot + words.SLOT_LOG]:
        return False
    return bool(m.vm[words.WALK_PTES + m.vm[words.WALK_LEVEL] - 1] & x86.DIRTY)


@kernel
def store_queued(m: Machine, cpu: int, gva: int, user: int, size: int, value: int) -> int:
    """Carry out a store to a shadowed table and note it; 0 if it is to anything else."""
    if not walk_addr(m, cpu, gva, 1, user, 0, 1):
        return 0
    gpa = (m.vm[words.WALK_GFN] << x86.PAGE_SHIFT) | (gva & 0xFFF)
    if lookup_page(m, gpa >> x86.PAGE_SHIFT) == 0:
        return 0
    write_guest(m, gpa, size, value)
    mark_page_dirty(m, gpa >> x86.PAGE_SHIFT)
    m.vm[words.OUT_ADDRESS] = gpa
    queue_store(m, cpu, gpa)
    return 1


@kernel
def queue_store(m: Machine, cpu: int, gpa: int) -> None:
    """Note that a table's word changed; the last one that fits makes the guest call."""
    vm = m.vm
    count = vm[words.QUEUE_COUNT]
    for i in range(count):
        if vm[words.QUEUE + i] == gpa & ~7:
            return
    vm[words.QUEUE + count] = gpa & ~7
    vm[words.QUEUE_COUNT] = count + 1
    if count + 1 == words.QUEUE_MAX:
        apply_queue(m, cpu, 1)


@kernel
def apply_queue(m: Machine, cpu: int, by_call: int) -> None:
    """Update the shadows of all words that were noted, by a hypercall or in an exit there is.

    One flush at the end serves all of them.
    """
    vm = m.vm
    count = vm[words.QUEUE_COUNT]
    if count == 0:
        return
    if by_call:
        vm[words.HYPERCALLS] += 1
        vm[words.INTERCEPTS] += 1
    vm[words.QUEUE_COUNT] = 0
    vm[words.COLLECTED] = 0
    vm[words.IN_BATCH] = 1
    is_pae = vm[cpu + words.CR4] & x86.CR4_PAE
    for i in range(count):
        pte_write(m, cpu, vm[words.QUEUE + i], 4, 0, 0)
        if not is_pae:
            pte_write(m, cpu, vm[words.QUEUE + i] + 4, 4, 0, 0)
        if vm[words.BUG]:
            return
    vm[words.IN_BATCH] = 0
    flush_written(m)


# --- the pair of roots --------------------------------------------------------------------------


@kernel
def is_pair(m: Machine, cpu: int, value: int) -> bool:
    """Does that CR3 name the other root of the address space that is loaded (long mode)?"""
    root = m.vm[cpu + words.ROOT]
    if m.vm[words.KNOB_ROOT_PAIR] == values.ROOT_PAIR_DROPPED or root in (0, words.PAE_LOADED):
        return False
    changed = (value ^ m.vm[cpu + words.CR3]) & x86.FRAME_MASK
    return bool(m.vm[cpu + words.EFER] & x86.EFER_LMA and changed == PAIR_BIT)


@kernel
def switch_pair(m: Machine, cpu: int, value: int) -> bool:
    """Load the other root of the pair without an exit; False if the host has to do it."""
    vm = m.vm
    other = vm[cpu + words.PAIR_ROOT]
    if other == 0 or vm[cpu + words.PAIR_CR3] != value or not is_pair(m, cpu, value):
        return False
    scope = vm[words.KNOB_SYNC_SCOPE]
    if scope == values.SYNC_SCOPE_CHANGED:
        is_synced = m.page[other + words.EPOCH] == vm[words.CHANGE_EPOCH]
    elif scope == values.SYNC_SCOPE_LISTED or scope == values.SYNC_SCOPE_REACHABLE:
        is_synced = vm[words.OOS_HEAD] == 0
    else:
        is_synced = m.page[other + words.UNSYNC_CHILDREN] == 0
    if not is_synced or m.page[other + words.ROLE] & words.ROLE_INVALID:
        return False
    vm[cpu + words.PAIR_ROOT] = vm[cpu + words.ROOT]
    vm[cpu + words.PAIR_CR3] = vm[cpu + words.CR3]
    vm[cpu + words.ROOT] = other
    vm[cpu + words.CR3] = value
    drop_all(m, cpu)
    return True


@kernel
def keep_pair(m: Machine, cpu: int) -> None:
    """Keep the loaded root as the other one of the pair; the next entry loads its partner."""
    vm = m.vm
    put_root(m, vm[cpu + words.PAIR_ROOT])
    commit_zap(m)
    vm[cpu + words.PAIR_ROOT] = vm[cpu + words.ROOT]
    vm[cpu + words.PAIR_CR3] = vm[cpu + words.CR3]
    vm[cpu + words.ROOT] = 0

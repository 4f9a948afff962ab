"""One guest access: the processor's walk of the shadow tables, and exits until it is done.

The processor sets A at every level. CR0.WP of the host is always 1 while the guest runs,
so read-only entries hold for a supervisor too. If there is a TLB, it is looked up first.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_word, slot_of, write_guest
from refault.engines.shadow.arch.tlb import fill, lookup, needed
from refault.engines.shadow.kvm.dirty import mark_page_dirty
from refault.engines.shadow.kvm.entry import enter_guest
from refault.engines.shadow.kvm.fault import EMULATE, GUEST_FAULT, page_fault
from refault.engines.shadow.kvm.parents import child_of, entry_of, level_of, shadow_root
from refault.engines.shadow.kvm.ptwrite import pte_write
from refault.engines.shadow.kvm.pvm import (
    AGAIN,
    DONE,
    apply_queue,
    note_injected,
    queue_store,
    refused_entry,
    store_queued,
    without_exit,
)
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.kvm.spte import lookup_page, need_write_protect
from refault.engines.shadow.kvm.tracepoints import PAGE_FAULT, trace
from refault.engines.shadow.kvm.walk import walk_addr
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel

READ = 0
WRITE = 2
FETCH = 16
HIT = -1


@kernel
def hardware_walk(m: Machine, cpu: int, gva: int, kind: int, user: int) -> int:
    """HIT with the address in ``OUT_ADDRESS``, or the P and RSVD bits of the fault."""
    root = shadow_root(m, cpu, gva)
    if root == 0:
        return 0
    level = level_of(m, root)
    sptep = entry_of(root, level, gva)
    granted = -1
    while True:  # one iteration per level
        spte = m.spt[sptep]
        m.vm[words.HIT_LEVEL] = level
        if not spte & x86.PRESENT:
            return 0
        if spte == words.TRAP_WITH_BYPASS:
            return x86.PF_PRESENT | x86.PF_RSVD
        if (
            (kind == WRITE and not spte & x86.WRITABLE)
            or (user and not spte & x86.USER)
            or (kind == FETCH and spte < 0)
        ):
            return x86.PF_PRESENT
        if not spte & x86.ACCESSED:
            m.spt[sptep] = spte | x86.ACCESSED
        granted &= (spte | x86.ACCESSED) ^ x86.NX
        if level == 1 or spte & x86.LARGE:
            inside = (1 << (3 + 9 * level)) - 1
            m.vm[words.OUT_ADDRESS] = (spte & x86.FRAME_MASK & ~inside) | (gva & inside)
            m.vm[words.HIT_GRANTED] = granted
            return HIT
        level -= 1
        sptep = entry_of(child_of(spte), level, gva)


@kernel
def refusal(m: Machine, cpu: int, gva: int) -> int:
    """The entry that refused the latest walk: its level, and from bit 12 on its low bits."""
    sptep = refused_entry(m, cpu, gva)
    if sptep == 0:
        return 0
    spte = m.spt[sptep]
    bits = spte & 0xFFF if is_present(m, spte) else 0
    return m.vm[words.HIT_LEVEL] | bits << x86.PAGE_SHIFT


@kernel
def translate(m: Machine, cpu: int, gva: int, kind: int, user: int) -> int:
    """As :func:`hardware_walk`, but from the TLB on a hit."""
    vm = m.vm
    if not vm[words.TLB]:
        return hardware_walk(m, cpu, gva, kind, user)
    gpa = lookup(m, cpu, gva, needed(kind == WRITE, user, kind == FETCH))
    if gpa >= 0:
        vm[words.OUT_ADDRESS] = gpa
        vm[words.TLB_HITS] += 1
        vm[words.WALKS] -= 1
        return HIT
    code = hardware_walk(m, cpu, gva, kind, user)
    if code == HIT:
        fill(m, cpu, gva, vm[words.OUT_ADDRESS], vm[words.HIT_LEVEL], vm[words.HIT_GRANTED])
    return code


@kernel
def inject(m: Machine, cpu: int, gva: int, code: int) -> int:
    """Give the guest a #PF."""
    note_injected(m, cpu, gva, code)
    m.vm[words.OUT_ADDRESS] = code
    return out.PF


@kernel
def tell_of_store(m: Machine, cpu: int, gpa: int, size: int, value: int) -> None:
    """A store to a table that the guest cannot make unseen: now, or with others (PVM)."""
    if m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_TRAPPED:
        pte_write(m, cpu, gpa, size, value, 1)
    elif lookup_page(m, gpa >> x86.PAGE_SHIFT):
        queue_store(m, cpu, gpa)


@kernel
def emulate_store(m: Machine, cpu: int, gva: int, user: int, size: int, value: int) -> int:
    """Emulate one store in the host and tell the MMU (x86.c: emulator_write_emulated)."""
    if not walk_addr(m, cpu, gva, 1, user, 0, 1):
        m.vm[words.PF_GUEST] += 1
        return inject(m, cpu, gva, m.vm[words.WALK_ERROR])
    gpa = (m.vm[words.WALK_GFN] << x86.PAGE_SHIFT) | (gva & 0xFFF)
    if slot_of(m, gpa >> x86.PAGE_SHIFT) == 0:
        return out.MMIO
    write_guest(m, gpa, size, value)
    mark_page_dirty(m, gpa >> x86.PAGE_SHIFT)
    tell_of_store(m, cpu, gpa, size, value)
    m.vm[words.OUT_ADDRESS] = gpa
    m.vm[words.OUT_EMULATED] = 1
    return out.OK


@kernel
def store_unmapped(m: Machine, vcpu: int, gpa: int, size: int, value: int) -> int:
    """A guest's store through an unknown mapping.

    A table in sync is read-only in every mapping, so KVM sees the store through any of them:
    the table goes out of sync, or the store is emulated. Stores to other frames do not exit.
    """
    gfn = gpa >> x86.PAGE_SHIFT
    mark_page_dirty(m, gfn)  # whatever maps it was let to write
    if lookup_page(m, gfn) == 0:
        write_guest(m, gpa, size, value)
        return out.NONE
    cpu = cpu_of(vcpu)
    pending = out.NONE
    if m.vm[cpu + words.BOOTED]:
        pending = enter_guest(m, vcpu)
    if m.vm[words.BUG]:
        return out.NONE
    guarded = need_write_protect(m, gfn, 1)
    write_guest(m, gpa, size, value)
    if guarded:
        tell_of_store(m, cpu, gpa, size, value)
    return pending


@kernel
def emulate(m: Machine, cpu: int, gva: int, kind: int, user: int, size: int, value: int) -> int:
    """Emulate an access in the host; only stores to memory can be (emulate_instruction).

    A fetch from outside memory cannot be decoded; any other access there is a device's.
    """
    vm = m.vm
    queued = vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_QUEUED
    if queued and kind == WRITE and store_queued(m, cpu, gva, user, size, value):
        return out.OK
    vm[words.INSN_EMULATION] += 1
    if kind == FETCH:
        vm[words.INSN_EMULATION_FAIL] += 1
        return out.FAIL
    code = out.MMIO
    if kind == WRITE:
        code = emulate_store(m, cpu, gva, user, size, value)
    if code == out.MMIO:
        vm[words.MMIO_EXITS] += 1
    return code


@kernel
def access(m: Machine, vcpu: int, gva: int, kind: int, user: int, size: int, value: int) -> int:
    """One load, store or fetch; answers an OUT_* code, address or #PF code in ``OUT_ADDRESS``."""
    vm = m.vm
    cpu = cpu_of(vcpu)
    vm[words.WALKS] += 1
    for _ in range(words.EXITS_MAX):
        if vm[cpu + words.REQUESTS] or vm[cpu + words.ROOT] == 0:
            pending = enter_guest(m, vcpu)
            if pending or vm[words.BUG]:
                return pending
        code = translate(m, cpu, gva, kind, user)
        if code == HIT:
            gpa = vm[words.OUT_ADDRESS]
            if kind == WRITE:
                write_guest(m, gpa, size, value)
            elif kind == READ:
                vm[words.OUT_VALUE] = read_word(m, gpa & ~7)
            return out.OK
        if kind == WRITE:
            code |= x86.PF_WRITE
        if user:
            code |= x86.PF_USER
        if kind == FETCH and (vm[cpu + words.EFER] & x86.EFER_NX or vm[words.BYPASS]):
            code |= x86.PF_FETCH
        if vm[words.BYPASS] and not code & x86.PF_PRESENT:
            vm[words.OUT_ADDRESS] = code
            return out.PF_DIRECT
        told = without_exit(m, cpu, gva, code, user, size, value)
        if told == DONE:
            return out.OK
        if told == AGAIN:
            continue
        vm[words.EXITS] += 1
        trace(m, PAGE_FAULT, gva, code)
        apply_queue(m, cpu, 0)
        done = page_fault(m, cpu, gva, code)
        if vm[words.BUG]:
            return out.NONE
        if done == GUEST_FAULT:
            return inject(m, cpu, gva, vm[words.WALK_ERROR])
        if done == EMULATE:
            return emulate(m, cpu, gva, kind, user, size, value)
    vm[words.OUT_ADDRESS] = refusal(m, cpu, gva)
    return out.LIVELOCK

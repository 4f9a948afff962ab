"""Reads the shadow tables and TLBs of the host that is checked, and changes nothing."""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.kvm.parents import child_of, entry_of, level_of, shadow_root
from refault.engines.shadow.kvm.rmap import is_present
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

#: Requests before whose handling a vCPU does not use its shadow tables as they are.
PENDING = words.REQ_MMU_RELOAD | words.REQ_MMU_SYNC | words.REQ_GUEST_FLUSH | words.REQ_TRIPLE_FAULT

#: The bits of a linear address that select entries.
LOW_BITS = (1 << 48) - 1


@kernel
def has_steps(a: Audit, count: int) -> bool:
    """Count steps of the current sweep; False once it has taken all it may."""
    a.state[au.STEPS] += count
    return a.state[au.STEPS] < a.state[au.STEPS_END]


@kernel
def is_leaf(m: Machine, sp: int, spte: int) -> bool:
    """Is a present entry of that page a leaf?"""
    return level_of(m, sp) == 1 or spte & x86.LARGE != 0


@kernel
def is_indirect(m: Machine, sp: int) -> bool:
    """Does the page shadow a table of the guest, and is valid?"""
    return not m.page[sp + words.ROLE] & (words.ROLE_DIRECT | words.ROLE_INVALID)


@kernel
def uses_tables(m: Machine, cpu: int) -> bool:
    """Is the vCPU ready to enter the guest on the shadow tables as they are?"""
    vm = m.vm
    return bool(
        vm[cpu + words.BOOTED] and vm[cpu + words.ROOT] and not vm[cpu + words.REQUESTS] & PENDING
    )


@kernel
def uses_tlb(m: Machine, cpu: int) -> bool:
    """May the vCPU still use its TLB at its next entry?"""
    vm = m.vm
    return bool(
        vm[words.TLB]
        and vm[cpu + words.BOOTED]
        and vm[cpu + words.ROOT]
        and not vm[cpu + words.REQUESTS] & (words.REQ_TLB_FLUSH | PENDING)
    )


@kernel
def shadow_leaf(m: Machine, cpu: int, gva: int) -> int:
    """The place of the leaf that maps ``gva`` now, or 0."""
    if m.vm[cpu + words.ROOT] == 0:
        return 0
    sp = shadow_root(m, cpu, gva)
    for _ in range(x86.LONG_LEVELS):
        if sp == 0:
            return 0
        level = level_of(m, sp)
        sptep = entry_of(sp, level, gva)
        spte = m.spt[sptep]
        if not spte & x86.PRESENT or not is_present(m, spte):
            return 0
        if level == 1 or spte & x86.LARGE:
            return sptep
        sp = child_of(spte)
    return 0


@kernel
def leaf_gpa(m: Machine, sptep: int, gva: int) -> int:
    """The guest physical address that a leaf gives for ``gva``."""
    level = level_of(m, sptep >> 10 << 5)
    inside = (1 << (3 + 9 * level)) - 1
    return (m.spt[sptep] & x86.FRAME_MASK & ~inside) | (gva & inside)


@kernel
def canonical(gva: int) -> int:
    """An address with bits 48 to 63 as bit 47."""
    if gva >> 47 & 1:
        return gva | ~LOW_BITS
    return gva & LOW_BITS


@kernel
def tlb_entry(m: Machine, cpu: int, place: int) -> int:
    """The data at a place of a vCPU's TLB if its key is of the present generation, or 0."""
    key = m.tlb[place]
    if key >> 38 << 38 != m.vm[cpu + words.TLB_KEY] or key == 0:
        return 0
    return m.tlb[place + tlb.WAYS]


@kernel
def tlb_gpa(m: Machine, cpu: int, gva: int) -> int:
    """The address an entry of the TLB gives for ``gva``, whatever it grants, or -1."""
    for level in range(1, 4):
        if not m.vm[cpu + words.TLB_SIZES] & (1 << level):
            continue
        key = m.vm[cpu + words.TLB_KEY] | tlb.page_key(gva, level)
        data = tlb.data_of(m, tlb.set_of(cpu, gva, level), key)
        if data:
            return (data & tlb.FRAME_MASK) | (gva & ((1 << (3 + 9 * level)) - 1))
    return -1


@kernel
def is_poked(a: Audit, gfn: int) -> bool:
    """Did this table change behind the MMU since it was shadowed?"""
    s = a.state
    if s[au.IS_POKED]:
        return True
    found = False
    for i in range(s[au.POKED_COUNT]):
        found |= s[au.POKED + i] == gfn
    return found

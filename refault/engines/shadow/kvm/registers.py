"""Control-register writes (x86.c: kvm_set_cr0, _cr3, _cr4, set_efer).

Each answers OUT_NONE, or OUT_GP when the write is refused and nothing changed.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import read_word, slot_of
from refault.engines.shadow.kvm.entry import free_roots, reset_context
from refault.engines.shadow.kvm.pvm import is_pair, keep_pair
from refault.engines.shadow.kvm.requests import flush_tlb
from refault.engines.shadow.kvm.sync import sync_global, sync_roots
from refault.engines.shadow.kvm.tracepoints import CR, trace
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel

PDPTR_BITS = x86.CR4_PGE | x86.CR4_PSE | x86.CR4_PAE
# What still resets the context with CR_RESET_BITS, and with CR4_WRITE_REQUESTS
CR0_RESETS = x86.CR0_PG | x86.CR0_WP | x86.CR0_CD | x86.CR0_NW
CR4_RESETS = PDPTR_BITS
CR4_FORMAT = x86.CR4_PSE | x86.CR4_PAE


@kernel
def load_pdptrs(m: Machine, cpu: int, cr3: int) -> int:
    """Copy the four PDPTEs at ``cr3``, unless one has a reserved bit; 1 if that was done."""
    table = cr3 & x86.FRAME_MASK | cr3 & 0xFE0
    if slot_of(m, table >> x86.PAGE_SHIFT) == 0:
        return 0
    for i in range(4):
        pdpte = read_word(m, table + 8 * i)
        if pdpte & x86.PRESENT and pdpte & m.vm[cpu + words.PDPTE_RESERVED]:
            return 0
    for i in range(4):
        m.vm[cpu + words.PDPTRS + i] = read_word(m, table + 8 * i)
    return 1


@kernel
def pdptrs_changed(m: Machine, cpu: int) -> int:
    """Do the PDPTEs in memory differ from the cached ones? Never in long mode, nor without PAE."""
    if m.vm[cpu + words.EFER] & x86.EFER_LMA or not m.vm[cpu + words.CR4] & x86.CR4_PAE:
        return 0
    table = m.vm[cpu + words.CR3] & x86.FRAME_MASK | m.vm[cpu + words.CR3] & 0xFE0
    if slot_of(m, table >> x86.PAGE_SHIFT) == 0:
        return 1
    for i in range(4):
        if read_word(m, table + 8 * i) != m.vm[cpu + words.PDPTRS + i]:
            return 1
    return 0


@kernel
def boot(m: Machine, cpu: int, cr0: int, cr3: int, cr4: int, efer: int) -> None:
    """Set all registers of a vCPU at once; no guest entry in between."""
    free_roots(m, cpu)
    m.vm[cpu + words.CR0] = cr0 | x86.CR0_ET
    m.vm[cpu + words.CR3] = cr3
    m.vm[cpu + words.CR4] = cr4
    m.vm[cpu + words.EFER] = efer
    m.vm[cpu + words.BOOTED] = 1
    m.vm[cpu + words.UPDATE_GFN] = -1
    m.vm[cpu + words.ROLE_LEFT] = 0
    if cr0 & x86.CR0_PG and cr4 & x86.CR4_PAE and not efer & x86.EFER_LMA:
        load_pdptrs(m, cpu, cr3)
    reset_context(m, cpu)


@kernel
def set_cr0(m: Machine, cpu: int, value: int) -> int:
    """Reset the context, under CR_RESET_ALWAYS even if nothing changed; PG sets and clears LMA."""
    vm = m.vm
    trace(m, CR, 0, value)
    old = vm[cpu + words.CR0]
    if value >> 32:
        return out.GP
    value = (value & words.CR0_KNOWN) | x86.CR0_ET
    if value & x86.CR0_NW and not value & x86.CR0_CD:
        return out.GP
    if value & x86.CR0_PG and not value & x86.CR0_PE:
        return out.GP
    pae = vm[cpu + words.CR4] & x86.CR4_PAE
    if value & x86.CR0_PG and not old & x86.CR0_PG:
        if vm[cpu + words.EFER] & x86.EFER_LME:
            if not pae:
                return out.GP
            vm[cpu + words.EFER] |= x86.EFER_LMA
        elif pae and not load_pdptrs(m, cpu, vm[cpu + words.CR3]):
            return out.GP
    elif not value & x86.CR0_PG:
        vm[cpu + words.EFER] &= ~x86.EFER_LMA
    vm[cpu + words.CR0] = value
    if vm[words.KNOB_GLOBAL_PAGES] == values.GLOBAL_PAGES_LEFT:
        sync_global(m, cpu)
    if vm[words.KNOB_CR_RESET] == values.CR_RESET_ALWAYS or (value ^ old) & CR0_RESETS:
        reset_context(m, cpu)
    return out.NONE


@kernel
def set_cr3(m: Machine, cpu: int, value: int) -> int:
    """The same CR3 syncs and flushes; another drops the roots, and the next entry loads new ones.

    A guest without paging keeps its roots: they do not depend on CR3.
    """
    vm = m.vm
    trace(m, CR, 3, value)
    if value == vm[cpu + words.CR3] and not pdptrs_changed(m, cpu):
        sync_roots(m, cpu)
        flush_tlb(m)
        return out.NONE
    paging = vm[cpu + words.CR0] & x86.CR0_PG
    if vm[cpu + words.EFER] & x86.EFER_LMA:
        if value & ~words.CR3_LONG_KNOWN:
            return out.GP
    elif vm[cpu + words.CR4] & x86.CR4_PAE:
        if value & words.CR3_PAE_RESERVED:
            return out.GP
        if paging and not load_pdptrs(m, cpu, value):
            return out.GP
    if slot_of(m, value >> x86.PAGE_SHIFT) == 0:
        return out.GP
    if paging and is_pair(m, cpu, value):
        keep_pair(m, cpu)
    elif paging:
        free_roots(m, cpu)
    vm[cpu + words.CR3] = value
    return out.NONE


@kernel
def set_cr4(m: Machine, cpu: int, value: int) -> int:
    """A full context reset, unless patch 4 returns early.

    CR4_WRITE_FLUSHES: as posted, before any check, and the new value is never stored;
    CR4_WRITE_STORES: the value is stored; CR4_WRITE_REQUESTS: it is stored after the checks, and
    the next entry syncs and flushes.
    """
    vm = m.vm
    trace(m, CR, 4, value)
    old = vm[cpu + words.CR4]
    form = vm[words.KNOB_CR4_WRITE]
    quick = form == values.CR4_WRITE_FLUSHES or form == values.CR4_WRITE_STORES
    if quick and value == old:
        return out.NONE
    if quick and value ^ old == x86.CR4_PGE:
        if form == values.CR4_WRITE_STORES:
            vm[cpu + words.CR4] = value
        sync_roots(m, cpu)
        flush_tlb(m)
        return out.NONE
    if value & ~words.CR4_KNOWN:
        return out.GP
    if vm[cpu + words.EFER] & x86.EFER_LMA:
        if not value & x86.CR4_PAE:
            return out.GP
    elif (
        vm[cpu + words.CR0] & x86.CR0_PG
        and value & x86.CR4_PAE
        and (value ^ old) & PDPTR_BITS
        and not load_pdptrs(m, cpu, vm[cpu + words.CR3])
    ):
        return out.GP
    if value & x86.CR4_VMXE:
        return out.GP
    vm[cpu + words.CR4] = value
    vm[cpu + words.BASE_ROLE] ^= vm[cpu + words.ROLE_LEFT] & words.ROLE_PGE
    vm[cpu + words.ROLE_LEFT] &= ~words.ROLE_PGE
    if vm[words.KNOB_GLOBAL_PAGES] == values.GLOBAL_PAGES_LEFT:
        sync_global(m, cpu)
    if form == values.CR4_WRITE_REQUESTS:
        if (value ^ old) & CR4_FORMAT:
            reset_context(m, cpu)
        if (value ^ old) & x86.CR4_PGE:
            vm[cpu + words.REQUESTS] |= words.REQ_GUEST_FLUSH
    elif vm[words.KNOB_CR_RESET] == values.CR_RESET_ALWAYS or (value ^ old) & CR4_RESETS:
        reset_context(m, cpu)
    return out.NONE


@kernel
def set_efer(m: Machine, cpu: int, value: int) -> int:
    """LME may not change while paging; the guest cannot write LMA."""
    old = m.vm[cpu + words.EFER]
    if value & ~words.EFER_KNOWN:
        return out.GP
    if m.vm[cpu + words.CR0] & x86.CR0_PG and (value ^ old) & x86.EFER_LME:
        return out.GP
    m.vm[cpu + words.EFER] = (value & ~x86.EFER_LMA) | (old & x86.EFER_LMA)
    m.vm[cpu + words.ROLE_LEFT] &= ~words.ROLE_NXE
    reset_context(m, cpu)
    return out.NONE

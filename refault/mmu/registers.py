"""Control-register writes of a long-mode guest (x86.c: kvm_set_cr0, _cr3, _cr4, set_efer).

Each answers OUT_NONE, or OUT_GP when the write is refused and nothing changed.
"""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.entry import free_roots, reset_context
from refault.mmu.guest import slot_of
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.requests import flush_tlb
from refault.mmu.sync import sync_roots


@kernel
def boot(m: Machine, cpu: int, cr0: int, cr3: int, cr4: int, efer: int) -> None:
    """Set all registers of a vCPU at once; no guest entry in between."""
    if not (cr0 & x86.CR0_PG and cr4 & x86.CR4_PAE and efer & x86.EFER_LMA):
        m.vm[x86.BUG] = x86.UNSUPPORTED_MODE
        return
    free_roots(m, cpu)
    m.vm[cpu + x86.CR0] = cr0 | x86.CR0_ET
    m.vm[cpu + x86.CR3] = cr3
    m.vm[cpu + x86.CR4] = cr4
    m.vm[cpu + x86.EFER] = efer
    m.vm[cpu + x86.BOOTED] = 1
    m.vm[cpu + x86.UPDATE_GFN] = -1
    reset_context(m, cpu)


@kernel
def set_cr0(m: Machine, cpu: int, value: int) -> int:
    """Always a context reset, also for the value that is there."""
    if value >> 32:
        return x86.OUT_GP
    value = (value & x86.CR0_KNOWN) | x86.CR0_ET
    if value & x86.CR0_NW and not value & x86.CR0_CD:
        return x86.OUT_GP
    if value & x86.CR0_PG and not value & x86.CR0_PE:
        return x86.OUT_GP
    if not value & x86.CR0_PG:
        m.vm[x86.BUG] = x86.UNSUPPORTED_MODE
        return x86.OUT_NONE
    m.vm[cpu + x86.CR0] = value
    reset_context(m, cpu)
    return x86.OUT_NONE


@kernel
def set_cr3(m: Machine, cpu: int, value: int) -> int:
    """The same value syncs and flushes; another one drops the root, the next entry loads it."""
    if value == m.vm[cpu + x86.CR3]:
        sync_roots(m, cpu)
        flush_tlb(m)
        return x86.OUT_NONE
    if value & ~x86.CR3_LONG_KNOWN or slot_of(m, value >> x86.PAGE_SHIFT) == 0:
        return x86.OUT_GP
    m.vm[cpu + x86.CR3] = value
    free_roots(m, cpu)
    return x86.OUT_NONE


@kernel
def set_cr4(m: Machine, cpu: int, value: int) -> int:
    """A full context reset, unless patch 4 cuts it short.

    ``cr4_write`` 1: as posted, before any check, and the new value is never stored; 2: stored.
    """
    old = m.vm[cpu + x86.CR4]
    quick = m.vm[x86.KNOB_CR4_WRITE]
    if quick and value == old:
        return x86.OUT_NONE
    if quick and value ^ old == x86.CR4_PGE:
        if quick == 2:
            m.vm[cpu + x86.CR4] = value
        sync_roots(m, cpu)
        flush_tlb(m)
        return x86.OUT_NONE
    if value & ~x86.CR4_KNOWN or not value & x86.CR4_PAE or value & x86.CR4_VMXE:
        return x86.OUT_GP
    m.vm[cpu + x86.CR4] = value
    reset_context(m, cpu)
    return x86.OUT_NONE


@kernel
def set_efer(m: Machine, cpu: int, value: int) -> int:
    """LME may not change while paging; LMA is not the guest's to write."""
    old = m.vm[cpu + x86.EFER]
    if value & ~x86.EFER_KNOWN or (value ^ old) & x86.EFER_LME:
        return x86.OUT_GP
    m.vm[cpu + x86.EFER] = (value & ~x86.EFER_LMA) | (old & x86.EFER_LMA)
    reset_context(m, cpu)
    return x86.OUT_NONE

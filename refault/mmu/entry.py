"""Entering the guest: roots and pending requests (x86.c: vcpu_enter_guest; mmu.c: kvm_mmu_load)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import slot_of
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.pages import get_page
from refault.mmu.requests import cpu_of, flush_hardware
from refault.mmu.sync import sync_roots
from refault.mmu.tlb import drop_all
from refault.mmu.zap import free_some_pages, zap_page


@kernel
def free_roots(m: Machine, cpu: int) -> None:
    """Let go of the loaded root; one zapped meanwhile dies now."""
    root = m.vm[cpu + x86.ROOT]
    if root == 0:
        return
    m.page[root + x86.ROOT_COUNT] -= 1
    if m.page[root + x86.ROOT_COUNT] == 0 and m.page[root + x86.ROLE] & x86.ROLE_INVALID:
        zap_page(m, root)
    m.vm[cpu + x86.ROOT] = 0


@kernel
def reset_context(m: Machine, cpu: int) -> None:
    """Drop the root and take the role base from the registers (mmu.c: kvm_mmu_reset_context)."""
    free_roots(m, cpu)
    m.vm[cpu + x86.ROOT_LEVEL] = x86.LONG_LEVELS
    role = x86.LONG_LEVELS
    if m.vm[cpu + x86.CR4] & x86.CR4_PGE and m.vm[x86.KNOB_ROLE_CR4_PGE]:
        role |= x86.ROLE_PGE
    if m.vm[cpu + x86.EFER] & x86.EFER_NX:
        role |= x86.ROLE_NXE
    m.vm[cpu + x86.BASE_ROLE] = role


@kernel
def load_roots(m: Machine, cpu: int) -> None:
    """Shadow the table CR3 names and sync what it reaches (mmu.c: kvm_mmu_load).

    Writing the hardware's CR3 flushes as well; that flush is not one of the counted commands.
    """
    vm = m.vm
    free_some_pages(m)
    if vm[x86.BUG]:
        return
    gfn = (vm[cpu + x86.CR3] & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    if slot_of(m, gfn) == 0:
        vm[cpu + x86.REQUESTS] |= x86.REQ_TRIPLE_FAULT
        return
    root = get_page(m, cpu, gfn, x86.LONG_LEVELS, 0, x86.ACC_ALL, 0)
    m.page[root + x86.ROOT_COUNT] += 1
    vm[cpu + x86.ROOT] = root
    sync_roots(m, cpu)
    drop_all(m, cpu)


@kernel
def enter_guest(m: Machine, vcpu: int) -> int:
    """Work off everything pending and enter; 0, or OUT_TRIPLE when CR3 names no memory."""
    vm = m.vm
    cpu = cpu_of(vcpu)
    vm[x86.CURRENT_CPU] = vcpu
    while True:
        if vm[cpu + x86.REQUESTS] & x86.REQ_MMU_RELOAD:
            vm[cpu + x86.REQUESTS] &= ~x86.REQ_MMU_RELOAD
            free_roots(m, cpu)
        if vm[cpu + x86.ROOT] == 0:
            load_roots(m, cpu)
            if vm[x86.BUG]:
                return x86.OUT_NONE
        if vm[cpu + x86.REQUESTS] & x86.REQ_MMU_SYNC:
            vm[cpu + x86.REQUESTS] &= ~x86.REQ_MMU_SYNC
            sync_roots(m, cpu)
        if vm[cpu + x86.REQUESTS] & x86.REQ_TLB_FLUSH:
            vm[cpu + x86.REQUESTS] &= ~x86.REQ_TLB_FLUSH
            flush_hardware(m, cpu)
        if vm[cpu + x86.REQUESTS] & x86.REQ_TRIPLE_FAULT:
            vm[cpu + x86.REQUESTS] &= ~x86.REQ_TRIPLE_FAULT
            return x86.OUT_TRIPLE
        if vm[cpu + x86.REQUESTS] == 0:
            return x86.OUT_NONE

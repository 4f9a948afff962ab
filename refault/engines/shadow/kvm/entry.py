"""Entering the guest: roots and pending requests (x86.c: vcpu_enter_guest; mmu.c: kvm_mmu_load)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.arch.tlb import drop_all
from refault.engines.shadow.kvm.pages import get_page
from refault.engines.shadow.kvm.requests import cpu_of, flush_hardware, flush_tlb
from refault.engines.shadow.kvm.sync import sync_roots
from refault.engines.shadow.kvm.zap import commit_zap, free_some_pages, zap_page
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def put_root(m: Machine, root: int) -> None:
    """Drop one reference to a root; 0 is no root."""
    if root == 0:
        return
    m.page[root + words.ROOT_COUNT] -= 1
    if m.page[root + words.ROOT_COUNT] == 0 and m.page[root + words.ROLE] & words.ROLE_INVALID:
        zap_page(m, root)


@kernel
def free_roots(m: Machine, cpu: int) -> None:
    """Drop the loaded roots; one zapped meanwhile is freed now (mmu.c: mmu_free_roots)."""
    if m.vm[cpu + words.PAIR_ROOT]:
        put_root(m, m.vm[cpu + words.PAIR_ROOT])
        commit_zap(m)
        m.vm[cpu + words.PAIR_ROOT] = 0
    root = m.vm[cpu + words.ROOT]
    if root == 0:
        return
    if root == words.PAE_LOADED:
        for i in range(4):
            put_root(m, m.vm[cpu + words.PAE_ROOTS + i])
            m.vm[cpu + words.PAE_ROOTS + i] = 0
    else:
        put_root(m, root)
    commit_zap(m)
    m.vm[cpu + words.ROOT] = 0


@kernel
def guest_levels(m: Machine, cpu: int) -> int:
    """Levels of the guest's tables in the mode of its registers; 0 without paging."""
    if not m.vm[cpu + words.CR0] & x86.CR0_PG:
        return x86.NONPAGING
    if m.vm[cpu + words.EFER] & x86.EFER_LMA:
        return x86.LONG_LEVELS
    return x86.PAE_LEVELS if m.vm[cpu + words.CR4] & x86.CR4_PAE else x86.LEGACY_LEVELS


@kernel
def reset_context(m: Machine, cpu: int) -> None:
    """Drop the roots; take mode and role base from the registers (mmu.c: kvm_mmu_reset_context)."""
    free_roots(m, cpu)
    vm = m.vm
    nxe = vm[cpu + words.EFER] & x86.EFER_NX
    levels = guest_levels(m, cpu)
    vm[cpu + words.ROOT_LEVEL] = levels
    if levels == x86.PAE_LEVELS:
        vm[cpu + words.PDPTE_RESERVED] = x86.RSVD_PDPTE
    elif levels == x86.LONG_LEVELS:
        vm[cpu + words.PDPTE_RESERVED] = x86.RSVD_PHYS | x86.RSVD_7_8 | (0 if nxe else x86.NX)
    role = levels
    if vm[words.KNOB_ROLE_LAYOUT] == values.ROLE_LAYOUT_PAE:
        role = 1 if vm[cpu + words.CR4] & x86.CR4_PAE else 0
        if vm[cpu + words.CR0] & x86.CR0_WP:
            role |= words.ROLE_CR0_WP
    has_pge = vm[words.KNOB_ROLE_CR4_PGE] == values.ROLE_CR4_PGE_PRESENT
    if has_pge and vm[cpu + words.CR4] & x86.CR4_PGE:
        role |= words.ROLE_PGE
    if nxe:
        role |= words.ROLE_NXE
    vm[cpu + words.BASE_ROLE] = role ^ vm[cpu + words.ROLE_LEFT]


@kernel
def get_root(m: Machine, cpu: int, table: int, gva: int, level: int, direct: int) -> int:
    """The shadow of a top-level table, with one more reference; 0 if it lies outside memory."""
    gfn = (table & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    if slot_of(m, gfn) == 0:
        m.vm[cpu + words.REQUESTS] |= words.REQ_TRIPLE_FAULT
        return 0
    root = get_page(m, cpu, gfn, gva, level, direct, words.ACC_ALL, 0)
    m.page[root + words.ROOT_COUNT] += 1
    return root


@kernel
def load_pae_roots(m: Machine, cpu: int) -> int:
    """Fill the processor's four roots, one per GiB; 0 if one is outside memory.

    PAE: the pages of the cached PDPTEs. 32-bit: the four quadrants of the directory.
    Non-paging: direct pages. Roots taken before one that fails keep their references,
    as in mmu_alloc_roots().
    """
    vm = m.vm
    mode = vm[cpu + words.ROOT_LEVEL]
    for i in range(4):
        table = vm[cpu + words.CR3]
        if mode == x86.PAE_LEVELS:
            table = vm[cpu + words.PDPTRS + i]
            if not table & x86.PRESENT:
                vm[cpu + words.PAE_ROOTS + i] = 0
                continue
        elif mode == x86.NONPAGING:
            table = 0
        root = get_root(m, cpu, table, i << 30, words.PAE_ROOT_LEVEL, mode == x86.NONPAGING)
        if root == 0:
            return 0
        vm[cpu + words.PAE_ROOTS + i] = root
    return 1


@kernel
def load_roots(m: Machine, cpu: int) -> None:
    """Shadow the table in CR3 and sync what it reaches (mmu.c: kvm_mmu_load).

    Writing the hardware's CR3 flushes too; that flush is not counted.
    """
    vm = m.vm
    free_some_pages(m)
    if vm[words.BUG]:
        return
    if vm[cpu + words.ROOT_LEVEL] == x86.LONG_LEVELS:
        root = get_root(m, cpu, vm[cpu + words.CR3], 0, x86.LONG_LEVELS, 0)
        if root == 0:
            return
        vm[cpu + words.ROOT] = root
    else:
        if not load_pae_roots(m, cpu):
            return
        vm[cpu + words.ROOT] = words.PAE_LOADED
    sync_roots(m, cpu)
    drop_all(m, cpu)


@kernel
def enter_guest(m: Machine, vcpu: int) -> int:
    """Handle all requests and enter; 0, or TRIPLE if CR3 is outside memory.

    Loading roots may zap those of other vCPUs and so request a reload of these, which then
    finds enough free pages and these roots: a third iteration has nothing left to do.
    """
    vm = m.vm
    cpu = cpu_of(vcpu)
    vm[words.CURRENT_CPU] = vcpu
    for _ in range(words.EXITS_MAX):
        if vm[cpu + words.REQUESTS] & words.REQ_MMU_RELOAD:
            vm[cpu + words.REQUESTS] &= ~words.REQ_MMU_RELOAD
            free_roots(m, cpu)
        if vm[cpu + words.ROOT] == 0:
            load_roots(m, cpu)
            if vm[words.BUG]:
                return out.NONE
        if vm[cpu + words.REQUESTS] & words.REQ_MMU_SYNC:
            vm[cpu + words.REQUESTS] &= ~words.REQ_MMU_SYNC
            sync_roots(m, cpu)
        if vm[cpu + words.REQUESTS] & words.REQ_GUEST_FLUSH:
            vm[cpu + words.REQUESTS] &= ~words.REQ_GUEST_FLUSH
            sync_roots(m, cpu)
            flush_tlb(m)
        if vm[cpu + words.REQUESTS] & words.REQ_TLB_FLUSH:
            vm[cpu + words.REQUESTS] &= ~words.REQ_TLB_FLUSH
            flush_hardware(m, cpu)
        if vm[cpu + words.REQUESTS] & words.REQ_TRIPLE_FAULT:
            vm[cpu + words.REQUESTS] &= ~words.REQ_TRIPLE_FAULT
            return out.TRIPLE
        if vm[cpu + words.REQUESTS] == 0:
            return out.NONE
    return out.LIVELOCK

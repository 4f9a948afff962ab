"""Registers set from outside the guest (x86.c: kvm_arch_vcpu_ioctl_set_sregs).

Userspace sets them, after a migration for example, and nothing is checked or counted. A change of
CR0, CR3, CR4 or EFER resets the MMU once, and a vCPU under PAE without long mode loads its PDPTEs
and is reset always. What role the pages have from then on that EFER.NX and CR4.PGE decide stays
as it was: only the guest's own writes to these registers say it anew.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.kvm.entry import reset_context
from refault.engines.shadow.kvm.pvm import apply_queue
from refault.engines.shadow.kvm.registers import load_pdptrs
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

_LEFT = words.ROLE_NXE | words.ROLE_PGE


@kernel
def set_sregs(m: Machine, cpu: int, cr0: int, cr3: int, cr4: int, efer: int) -> None:
    """Set the four registers of a vCPU that is out of the guest."""
    vm = m.vm
    cr0 |= x86.CR0_ET
    changed = vm[cpu + words.CR3] != cr3 or vm[cpu + words.EFER] != efer
    changed = changed or vm[cpu + words.CR0] != cr0 or vm[cpu + words.CR4] != cr4
    loads = cr4 & x86.CR4_PAE and not efer & x86.EFER_LMA
    if not changed and not loads:
        return
    apply_queue(m, cpu, 0)
    if vm[words.BUG]:
        return
    before = vm[cpu + words.BASE_ROLE]
    vm[cpu + words.CR0], vm[cpu + words.CR3] = cr0, cr3
    vm[cpu + words.CR4], vm[cpu + words.EFER] = cr4, efer
    if loads:
        load_pdptrs(m, cpu, cr3)
    vm[cpu + words.ROLE_LEFT] = 0
    reset_context(m, cpu)
    kept = _LEFT if vm[words.KNOB_ROLE_CR4_PGE] == values.ROLE_CR4_PGE_PRESENT else words.ROLE_NXE
    vm[cpu + words.ROLE_LEFT] = (before ^ vm[cpu + words.BASE_ROLE]) & kept
    vm[cpu + words.BASE_ROLE] ^= vm[cpu + words.ROLE_LEFT]

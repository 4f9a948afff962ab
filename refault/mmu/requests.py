"""What one processor asks of another: TLB flushes, reloads, syncs (kvm_main.c)."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine
from refault.mmu.tlb import drop_all


@kernel
def cpu_of(vcpu: int) -> int:
    """Offset of a vCPU's record in ``vm[]``."""
    return x86.CPUS + vcpu * x86.CPU_WORDS


@kernel
def make_request(m: Machine, request: int) -> int:
    """Mark every vCPU; 1 if some vCPU on another processor was not marked yet."""
    somebody = 0
    for vcpu in range(m.vm[x86.VCPU_COUNT]):
        place = cpu_of(vcpu) + x86.REQUESTS
        if not m.vm[place] & request:
            m.vm[place] |= request
            if vcpu != m.vm[x86.CURRENT_CPU]:
                somebody = 1
    return somebody


@kernel
def flush_remote_tlbs(m: Machine) -> None:
    """Ask every vCPU for a flush; counted only if somebody had to be interrupted."""
    m.vm[x86.FLUSH_CALLS] += 1
    if make_request(m, x86.REQ_TLB_FLUSH):
        m.vm[x86.REMOTE_TLB_FLUSH] += 1


@kernel
def reload_remote_mmus(m: Machine) -> None:
    """Ask every vCPU to drop its roots."""
    m.vm[x86.RELOAD_CALLS] += 1
    make_request(m, x86.REQ_MMU_RELOAD)


@kernel
def flush_hardware(m: Machine, cpu: int) -> None:
    """The processor drops its TLB (x86_ops: tlb_flush)."""
    m.vm[x86.HW_FLUSH] += 1
    drop_all(m, cpu)


@kernel
def flush_tlb(m: Machine) -> None:
    """Flush this vCPU's TLB at once, or at its next entry (mmu.c: kvm_mmu_flush_tlb).

    Only ever called on behalf of the vCPU an operation runs on.
    """
    m.vm[x86.TLB_FLUSH] += 1
    cpu = cpu_of(m.vm[x86.CURRENT_CPU])
    if m.vm[x86.KNOB_LOCAL_FLUSH]:
        m.vm[cpu + x86.REQUESTS] |= x86.REQ_TLB_FLUSH
    else:
        flush_hardware(m, cpu)

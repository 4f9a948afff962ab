"""What one processor asks of another: TLB flushes, reloads, syncs (kvm_main.c)."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.shadow.arch.tlb import drop_all
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay.compile.jit import kernel


@kernel
def cpu_of(vcpu: int) -> int:
    """Offset of a vCPU's record in ``vm[]``."""
    return words.CPUS + vcpu * words.CPU_WORDS


@kernel
def make_request(m: Machine, request: int) -> int:
    """Mark every vCPU; 1 if some vCPU on another processor was not marked yet."""
    somebody = 0
    for vcpu in range(m.vm[words.VCPU_COUNT]):
        place = cpu_of(vcpu) + words.REQUESTS
        if not m.vm[place] & request:
            m.vm[place] |= request
            if vcpu != m.vm[words.CURRENT_CPU]:
                somebody = 1
    return somebody


@kernel
def flush_remote_tlbs(m: Machine) -> None:
    """Request a flush of every vCPU; counted only if a processor had to be interrupted."""
    m.vm[words.FLUSH_CALLS] += 1
    m.vm[words.TLBS_DIRTY] = 0
    if make_request(m, words.REQ_TLB_FLUSH):
        m.vm[words.REMOTE_TLB_FLUSH] += 1


@kernel
def reload_remote_mmus(m: Machine) -> None:
    """Request every vCPU to drop its roots."""
    m.vm[words.RELOAD_CALLS] += 1
    make_request(m, words.REQ_MMU_RELOAD)


@kernel
def flush_hardware(m: Machine, cpu: int) -> None:
    """The processor drops its TLB (x86_ops: tlb_flush)."""
    m.vm[words.HW_FLUSH] += 1
    drop_all(m, cpu)


@kernel
def flush_tlb(m: Machine) -> None:
    """Flush this vCPU's TLB at once, or at its next entry (mmu.c: kvm_mmu_flush_tlb).

    Only called for the vCPU that the operation runs on.
    """
    m.vm[words.TLB_FLUSH] += 1
    cpu = cpu_of(m.vm[words.CURRENT_CPU])
    if m.vm[words.KNOB_LOCAL_FLUSH] == values.LOCAL_FLUSH_AT_ENTRY:
        m.vm[cpu + words.REQUESTS] |= words.REQ_TLB_FLUSH
    else:
        flush_hardware(m, cpu)

"""The operation loop: the only hot loop.

:func:`run` executes rows until the block ends, the simulated kernel breaks, or Python must
make arrays longer (a new slot, more room). It writes a record of every outcome worth
keeping, and counts whether each access came out as for the real guest. What it is made of,
:func:`execute_quick` and :func:`execute`, is the loop of accounts as well.
"""

from __future__ import annotations

from refault.engines.shadow.arch.access import FETCH, READ, WRITE, access, store_unmapped
from refault.engines.shadow.arch.guest import read_word, slot_of, write_word
from refault.engines.shadow.arch.quick import quick_access, stays_in_guest, tlb_prefix
from refault.engines.shadow.arch.tlb import tlb_of
from refault.engines.shadow.kvm.entry import enter_guest
from refault.engines.shadow.kvm.invlpg import invlpg
from refault.engines.shadow.kvm.ptwrite import unprotect, unshadow
from refault.engines.shadow.kvm.pvm import apply_queue, switch_pair
from refault.engines.shadow.kvm.registers import boot, set_cr0, set_cr3, set_cr4, set_efer
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.slots import (
    commit_slot,
    delete_slot,
    is_of_log,
    log_operation,
    notifier_age,
    notifier_change,
    notifier_unmap,
    notifier_unmap_range,
)
from refault.engines.shadow.kvm.sregs import set_sregs
from refault.engines.shadow.kvm.tracepoints import events_fit
from refault.engines.shadow.kvm.walk import probe
from refault.engines.shadow.kvm.zap import change_limit, shrink, zap_all
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import (
    FRAMES_PER_OPERATION,
    LINKS_PER_OPERATION,
    PAGES_PER_OPERATION,
    Machine,
)
from refault.engines.shadow.state.steps import begin_steps
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import bare, door, inlined, kernel, shared_word
from refault.replay.records import (
    AS_WITNESSED,
    CODE_SHIFT,
    DEVIATION_SHIFT,
    FIRST_OTHER,
    FIRST_STALE,
    LOG_JUDGED,
    LOST_SHIFT,
    NOT_STALE,
    RECORD_ALL,
    ROWS,
    SHIFT,
    SKIP_NOT_BOOTED,
    SKIP_OUTSIDE_MEMORY,
    SKIP_UNSUPPORTED,
    SKIPPED,
    STALE,
    TALLY,
    TALLY_WORDS,
    Log,
    judge,
    note_answer,
    note_log,
    write_record,
)


@kernel
def needs_engine(m: Machine, kind: int, aux: int) -> bool:
    """Must Python make vCPUs or a slot first? Kernels cannot make arrays longer."""
    if kind == op.VM:
        return m.vm[words.VCPU_COUNT] == 0
    if kind != op.MEM:
        return False
    return (
        aux >= words.SLOTS_MAX or not m.vm[words.SLOTS + aux * words.SLOT_WORDS + words.SLOT_USED]
    )


@kernel
def can_execute(m: Machine, ops: op.Operations, i: int, index: int, memory_words: int) -> bool:
    """Is there enough room for row ``i``, whatever it does, and should the loop go on?"""
    vm = m.vm
    return (
        vm[words.PAGE_FREE_COUNT] >= PAGES_PER_OPERATION
        and vm[words.LINK_FREE_COUNT]
        >= LINKS_PER_OPERATION + vm[words.ACTIVE] * (1 + vm[words.QUEUE_COUNT])
        and memory_words - vm[words.MEM_NEXT] >= FRAMES_PER_OPERATION * x86.ENTRIES
        and not needs_engine(m, ops.kind[i], ops.aux[i])
        and (vm[words.EVENT_END] == 0 or events_fit(m, index))
        and not shared_word(vm, words.ABORTED)
    )


@inlined
def is_of_host(kind: int) -> bool:
    """Is it an operation of the host, not of a vCPU?"""
    return kind < op.BOOT or op.NR_PAGES <= kind <= op.ZAPALL or op.UNPROTECT < kind < op.SREGS


@kernel
def store_size(kind: int) -> int:
    """Bytes a store operation writes."""
    if kind == op.ST:
        return 8
    if kind == op.ST4:
        return 4
    return 2 if kind == op.ST2 else 1


@kernel
def host_operation(m: Machine, kind: int, aux: int, a: int, b: int) -> int:
    """Execute an operation of the host; answers an outcome, or -1 - SKIP_* if it cannot be."""
    vm = m.vm
    vm[words.CURRENT_CPU] = -1
    if kind == op.VM or kind == op.NOTE or kind == op.BOOT_CR:
        return out.NONE
    if kind == op.POKE:
        if slot_of(m, a >> x86.PAGE_SHIFT) == 0:
            return -1 - SKIP_OUTSIDE_MEMORY
        write_word(m, a & ~7, b)
        return out.NONE
    if kind == op.NR_PAGES:
        change_limit(m, a & x86.U32)
        vm[words.LIMIT_REQUESTED] = 1
        return out.NONE
    if kind == op.ZAPALL:
        zap_all(m)
        return out.NONE
    if kind == op.SHRINK:
        vm[words.OUT_ADDRESS] = shrink(m, a)
        return out.RETURN
    if kind == op.UNMAP:
        vm[words.OUT_ADDRESS] = notifier_unmap(m, a)
        return out.RETURN
    if kind == op.AGE:
        vm[words.OUT_ADDRESS] = notifier_age(m, a)
        return out.RETURN
    if kind == op.CHANGE_PTE:
        notifier_change(m, a, b & 1)
        return out.NONE
    if kind == op.UNMAP_RANGE:
        vm[words.OUT_ADDRESS] = notifier_unmap_range(m, a, b)
        return out.RETURN
    if kind == op.MEM or kind == op.MEM_DELETE or is_of_log(kind):
        slot = words.SLOTS + aux * words.SLOT_WORDS
        if aux >= words.SLOTS_MAX or not vm[slot + words.SLOT_USED]:
            return -1 - SKIP_OUTSIDE_MEMORY
        if kind == op.MEM:
            if a != vm[slot + words.SLOT_BASE] or b != vm[slot + words.SLOT_PAGES]:
                return -1 - SKIP_UNSUPPORTED  # KVM refuses another size; moving is not simulated
            commit_slot(m, aux, vm[words.DEFAULT_LIMIT])
        elif kind == op.MEM_DELETE:
            delete_slot(m, aux)
        else:
            return log_operation(m, kind, aux)
        return out.NONE
    return -1 - SKIP_UNSUPPORTED


@kernel
def guest_operation(
    m: Machine, kind: int, vcpu: int, user: int, aux: int, a: int, b: int, want: int
) -> int:
    """Execute an operation of a vCPU: boot it, or enter the guest first and then do it."""
    cpu = cpu_of(vcpu)
    m.vm[words.CURRENT_CPU] = vcpu
    if kind == op.BOOT:
        boot(m, cpu, a & x86.U32, b, a >> 32 & x86.U32, want)
        return out.NONE
    if kind == op.TABLE_WRITE:
        return store_unmapped(m, vcpu, a, aux, b)
    if not m.vm[cpu + words.BOOTED]:
        return -1 - SKIP_NOT_BOOTED
    if kind == op.SREGS:
        set_sregs(m, cpu, a & x86.U32, b, a >> 32 & x86.U32, want)
        return out.NONE
    if op.LD <= kind <= op.ST1:
        if kind == op.LD:
            return access(m, vcpu, a, READ, user, 8, 0)
        if kind == op.EX:
            return access(m, vcpu, a, FETCH, user, 8, 0)
        return access(m, vcpu, a, WRITE, user, store_size(kind), b)
    pending = enter_guest(m, vcpu)
    if pending or m.vm[words.BUG]:
        return pending
    if kind == op.UNPROTECT:
        m.vm[words.OUT_ADDRESS] = unprotect(m, cpu, a)
        return out.RETURN
    apply_queue(m, cpu, 1)  # each of these may be a flush
    if kind == op.SET_CR3 and switch_pair(m, cpu, a):
        return out.NONE
    m.vm[words.INTERCEPTS] += 1
    if kind == op.SET_CR3:
        return set_cr3(m, cpu, a)
    if kind == op.INVLPG:
        invlpg(m, cpu, a)
        return out.NONE
    if kind == op.SET_CR0:
        return set_cr0(m, cpu, a)
    if kind == op.SET_CR4:
        return set_cr4(m, cpu, a)
    if kind == op.SET_EFER:
        return set_efer(m, cpu, a)
    if kind == op.UNSHADOW:
        m.vm[words.HYPERCALLS] += 1
        unshadow(m, a >> x86.PAGE_SHIFT)
        return out.NONE
    return -1 - SKIP_UNSUPPORTED


@kernel
def record(m: Machine, log: Log, row: int, code: int, deviation: int, walked: int) -> None:
    """Append a record of the current operation; ``deviation`` in the bits of its first word."""
    vm = m.vm
    what = (code << CODE_SHIFT) | deviation | vm[words.OUT_EMULATED]
    write_record(log, row, what, vm[words.OUT_ADDRESS], vm[words.OUT_VALUE], walked)


@kernel
def account(m: Machine, ops: op.Operations, i: int, index: int, code: int, log: Log) -> None:
    """Count an access in the tally, and record it unless it is only "as the real guest did"."""
    cls = ops.cls[i]
    column = judge(code, m.vm[words.OUT_ADDRESS], cls, ops.want[i])
    place = TALLY + cls * TALLY_WORDS
    log.state[place + column] += 1
    if column == AS_WITNESSED:
        if cls in (op.WITNESS_NONE, op.WITNESS_UNSEEN) or log.state[RECORD_ALL]:
            record(m, log, i, code, 0, 0)
        return
    kind = ops.kind[i]
    walked = probe(m, cpu_of(ops.vcpu[i]), ops.a[i], kind >= op.ST, ops.user[i], kind == op.EX)
    agrees = (code == out.OK and walked == m.vm[words.OUT_ADDRESS]) or (
        code in (out.PF, out.PF_DIRECT) and walked == -1 - m.vm[words.OUT_ADDRESS]
    )
    stale = 0 if agrees else 1
    log.state[place + (STALE if stale else NOT_STALE)] += 1
    first = FIRST_STALE if stale else FIRST_OTHER
    if log.state[first] == 0:
        log.state[first] = index + 1
    record(m, log, i, code, (column + 1) << DEVIATION_SHIFT | stale << 1, walked)


@kernel
def account_log(m: Machine, log: Log, row: int) -> None:
    """Count a dirty log that was read, and record it; one that lacks written pages deviates."""
    judged = m.vm[words.OUT_LOST] << LOST_SHIFT | m.vm[words.OUT_WRITTEN] << 1 | LOG_JUDGED
    record(m, log, row, out.RETURN, note_log(log, m.vm[words.OUT_ADDRESS], judged), judged)


@kernel
def write_row(m: Machine, log: Log, i: int) -> None:
    """Append all counters as they are after row ``i``."""
    place = (log.state[ROWS] - 1) * words.COUNTED_ROW_WORDS
    log.state[ROWS] += 1
    log.rows[place] = i
    for c in range(words.COUNTER_COUNT):
        log.rows[place + 1 + c] = m.vm[c]


@kernel
def after_quick_access(
    m: Machine, ops: op.Operations, i: int, index: int, gpa: int, log: Log
) -> None:
    """Account for an access that took the fast path and reached ``gpa``."""
    m.vm[words.OUT_ADDRESS] = gpa
    m.vm[words.OUT_VALUE] = read_word(m, gpa & ~7) if ops.kind[i] == op.LD else 0
    m.vm[words.OUT_EMULATED] = 0
    if ops.cls[i] == op.WITNESS_UNSEEN:
        log.state[TALLY + op.WITNESS_UNSEEN * TALLY_WORDS + AS_WITNESSED] += 1
        record(m, log, i, out.OK, 0, 0)
    else:
        account(m, ops, i, index, out.OK, log)


@kernel
def execute_quick(m: Machine, ops: op.Operations, i: int, end: int, shift: int, log: Log) -> int:
    """Execute rows from ``i`` on that need nothing from the host; answers the first that does.

    Nearly all rows are done here. An access as witnessed is only counted in the tally; one that
    was not walked for hit a TLB.
    """
    vm = m.vm
    first, walks = i, vm[words.WALKS]
    known = op.WITNESS_ACCESS
    if log.state[RECORD_ALL]:
        known = op.WITNESS_SNAPSHOT + 1  # no class: each row is told of
    vcpu, cpu, prefix, tlb = -1, 0, 0, 0
    while i < end:  # a row a round
        if ops.vcpu[i] != vcpu:
            vcpu = ops.vcpu[i]
            cpu = cpu_of(vcpu)
            if vcpu >= vm[words.VCPU_COUNT] or not stays_in_guest(m, cpu):
                break
            prefix, tlb = tlb_prefix(m, cpu), tlb_of(cpu)
        kind = ops.kind[i]
        if not op.LD <= kind <= op.ST1:
            break
        gpa = quick_access(m, cpu, prefix, tlb, ops, i)
        if gpa < 0:
            break
        cls = ops.cls[i]
        if gpa == ops.want[i] and known <= cls <= op.WITNESS_SNAPSHOT:
            log.state[TALLY + cls * TALLY_WORDS] += 1
        else:
            after_quick_access(m, ops, i, i + shift, gpa, log)
        i += 1
    vm[words.TLB_HITS] += i - first - (vm[words.WALKS] - walks)
    return i


@kernel
def execute(m: Machine, ops: op.Operations, i: int, index: int, log: Log) -> None:
    """Execute any row, operation ``index``. If the kernel breaks, nothing is recorded."""
    vm = m.vm
    begin_steps(m)
    vm[words.OUT_ADDRESS] = 0
    vm[words.OUT_VALUE] = 0
    vm[words.OUT_EMULATED] = 0
    kind, vcpu, aux = ops.kind[i], ops.vcpu[i], ops.aux[i]
    if is_of_host(kind):
        code = host_operation(m, kind, aux, ops.a[i], ops.b[i])
    elif vcpu < vm[words.VCPU_COUNT]:
        user, want = ops.user[i], ops.want[i]
        code = guest_operation(m, kind, vcpu, user, aux, ops.a[i], ops.b[i], want)
    else:
        code = -1 - SKIP_NOT_BOOTED
    if vm[words.BUG]:
        return
    if code < 0:
        log.state[SKIPPED - 1 - code] += 1
    elif op.LD <= kind <= op.ST1:
        account(m, ops, i, index, code, log)
    elif kind == op.GET_DIRTY_LOG and code == out.RETURN:
        account_log(m, log, i)
    elif code != out.NONE:
        note_answer(log, kind, code, m.vm[words.OUT_ADDRESS])
        record(m, log, i, code, 0, 0)
    if log.state[ROWS]:
        write_row(m, log, i)


@door
def run(m: Machine, ops: op.Operations, start: int, end: int, shift: int, log: Log) -> int:
    """Execute rows ``start`` to ``end`` - 1; answers the first row not done.

    ``shift`` plus the row's number is its operation index. The loop ends early before a row
    that needs longer arrays, after one that broke the kernel, and anywhere once another
    thread has set ``ABORTED``; then the host cannot be used any more.
    """
    memory_words = len(m.mem)
    m, ops, log = bare(m), bare(ops), bare(log)
    log.state[SHIFT] = shift
    i = start
    while True:  # one iteration per row that leaves the guest
        i = execute_quick(m, ops, i, end, shift, log)
        if i == end or not can_execute(m, ops, i, i + shift, memory_words):
            return i
        execute(m, ops, i, i + shift, log)
        if m.vm[words.BUG]:
            return i
        i += 1

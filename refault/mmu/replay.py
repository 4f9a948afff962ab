"""The operation loop: the only hot loop.

:func:`run` executes rows until the block ends, the simulated kernel breaks, or the
engine must lend a hand (a new slot, more room). It writes a record of every outcome
worth keeping and tallies each access against what the real guest did there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refault.mmu import layout as x86
from refault.mmu import operations as op
from refault.mmu.access import FETCH, READ, WRITE, access, store_unmapped
from refault.mmu.entry import enter_guest
from refault.mmu.guest import read_word, slot_of, write_word
from refault.mmu.host import (
    commit_slot,
    delete_slot,
    notifier_age,
    notifier_change,
    notifier_unmap,
    slot_remove_write_access,
    start_dirty_log,
)
from refault.mmu.invlpg import invlpg
from refault.mmu.jit import bare, door, inlined, kernel, shared_word
from refault.mmu.machine import (
    FRAMES_PER_OPERATION,
    LINKS_PER_OPERATION,
    PAGES_PER_OPERATION,
    Machine,
)
from refault.mmu.ptwrite import unprotect, unshadow
from refault.mmu.quick import quick_access
from refault.mmu.registers import boot, set_cr0, set_cr3, set_cr4, set_efer
from refault.mmu.requests import cpu_of
from refault.mmu.steps import begin_steps
from refault.mmu.tracepoints import events_fit
from refault.mmu.walk import probe
from refault.mmu.zap import change_limit, shrink, zap_all

# log.state[]
NEXT = 0  # records written
RECORD_ALL = 1  # keep every access, not only the telling ones
ROWS = 2  # counters are copied to log.rows after every operation
TALLY = 16  # per witness class, TALLY_WORDS numbers
TALLY_WORDS = 8
AS_WITNESSED = 0
WRONG_ADDRESS = 1
SPURIOUS_FAULT = 2
MISSED_FAULT = 3
WRONG_CODE = 4
OTHER = 5
STALE = 6
NOT_STALE = 7
ANSWERS = 64  # what the host was told and what was refused, in the order of results.ANSWERS
REFUSED_WRITES = 0  # register writes with #GP
UNMAP_FOUND = 1
AGE_YOUNG = 2
SHRINK_LEFT = 3  # pages, over all calls
UNPROTECT_FOUND = 4
ANSWER_COUNT = 5
FIRST_STALE = 72  # operation index + 1, 0: none
FIRST_OTHER = 73
SKIPPED = 76  # operations that could not be executed, by SKIP_*
SKIP_NOT_BOOTED = 0
SKIP_OUTSIDE_MEMORY = 1
SKIP_UNSUPPORTED = 2
SKIP_REASONS = ("vcpu-not-booted", "outside-memory", "unsupported")
SHIFT = 80  # operation index of a row less its place in the block
STATE_WORDS = 81

# A record as the loop writes it: four words, the first of them
#   row << 16 │ code << 8 │ deviation << 4 │ stale << 1 │ emulated
# then address, value and probe; and unfolded (refault.mmu.findings) into nine columns.
PACKED_WORDS = 4
ROW_SHIFT = 16
CODE_SHIFT = 8
DEVIATION_SHIFT = 4
RECORD_WORDS = 9
INDEX = 0  # operation index
CODE = 1
ADDRESS = 2
VALUE = 3
EMULATED = 4
DEVIATION = 5  # 0, or 1 + the column of the tally
PROBE = 6  # what a walk of the guest's own tables gives: gpa, or -1 - #PF code
IS_STALE = 7
ROW = 8  # place in the block


class Log(NamedTuple):
    """What one block of operations leaves behind."""

    state: Any
    records: Any
    rows: Any


def new_log(operations: int, *, interpreted: bool, rows: bool = False) -> Log:
    """Room for the records of ``operations`` rows."""
    sizes = (
        STATE_WORDS,
        operations * PACKED_WORDS,
        operations * x86.COUNTER_COUNT if rows else 1,
    )
    if interpreted:
        return Log(*([0] * size for size in sizes))
    return Log(*(np.zeros(size, np.int64) for size in sizes))


@kernel
def has_room(m: Machine, memory_words: int) -> bool:
    """Is there enough of everything for any one operation?"""
    vm = m.vm
    return (
        vm[x86.PAGE_FREE_COUNT] >= PAGES_PER_OPERATION
        and vm[x86.LINK_FREE_COUNT] >= LINKS_PER_OPERATION + vm[x86.ACTIVE]
        and memory_words - vm[x86.MEM_NEXT] >= FRAMES_PER_OPERATION * x86.ENTRIES
    )


@kernel
def needs_engine(m: Machine, kind: int, aux: int) -> bool:
    """Only the engine can size arrays: vCPUs and slots are its work."""
    if kind == op.VM:
        return m.vm[x86.VCPU_COUNT] == 0
    if kind != op.MEM:
        return False
    return aux >= x86.SLOTS_MAX or not m.vm[x86.SLOTS + aux * x86.SLOT_WORDS + x86.SLOT_USED]


@inlined
def is_of_host(kind: int) -> bool:
    """Is an operation one of no vCPU?"""
    if kind == op.TABLE_WRITE:
        return False
    return kind < op.BOOT or op.NR_PAGES <= kind <= op.ZAPALL or kind > op.UNPROTECT


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
    """Execute an operation of no vCPU; answers an OUT_* code, or -1 - SKIP_* when it cannot be."""
    vm = m.vm
    vm[x86.CURRENT_CPU] = -1
    if kind == op.VM or kind == op.NOTE or kind == op.BOOT_CR:
        return x86.OUT_NONE
    if kind == op.POKE:
        if slot_of(m, a >> x86.PAGE_SHIFT) == 0:
            return -1 - SKIP_OUTSIDE_MEMORY
        write_word(m, a & ~7, b)
        return x86.OUT_NONE
    if kind == op.NR_PAGES:
        change_limit(m, a & x86.U32)
        vm[x86.LIMIT_REQUESTED] = 1
        return x86.OUT_NONE
    if kind == op.ZAPALL:
        zap_all(m)
        return x86.OUT_NONE
    if kind == op.SHRINK:
        vm[x86.OUT_ADDRESS] = shrink(m, a)
        return x86.OUT_RETURN
    if kind == op.UNMAP:
        vm[x86.OUT_ADDRESS] = notifier_unmap(m, a)
        return x86.OUT_RETURN
    if kind == op.AGE:
        vm[x86.OUT_ADDRESS] = notifier_age(m, a)
        return x86.OUT_RETURN
    if kind == op.CHANGE_PTE:
        notifier_change(m, a, b & 1)
        return x86.OUT_NONE
    if kind == op.MEM or kind == op.LOG or kind == op.DIRTYLOG or kind == op.MEM_DELETE:
        slot = x86.SLOTS + aux * x86.SLOT_WORDS
        if aux >= x86.SLOTS_MAX or not vm[slot + x86.SLOT_USED]:
            return -1 - SKIP_OUTSIDE_MEMORY
        if kind == op.MEM:
            if a != vm[slot + x86.SLOT_BASE] or b != vm[slot + x86.SLOT_PAGES]:
                return -1 - SKIP_UNSUPPORTED  # KVM refuses another size; moving is not simulated
            commit_slot(m, aux, vm[x86.DEFAULT_LIMIT])
        elif kind == op.MEM_DELETE:
            delete_slot(m, aux)
        elif kind == op.LOG:
            start_dirty_log(m, aux, vm[x86.DEFAULT_LIMIT])
        else:
            slot_remove_write_access(m, aux)
        return x86.OUT_NONE
    return -1 - SKIP_UNSUPPORTED


@kernel
def guest_operation(
    m: Machine, kind: int, vcpu: int, user: int, aux: int, a: int, b: int, want: int
) -> int:
    """Execute an operation of a vCPU: boot it, or enter the guest first and then do it."""
    cpu = cpu_of(vcpu)
    m.vm[x86.CURRENT_CPU] = vcpu
    if kind == op.BOOT:
        boot(m, cpu, a & x86.U32, b, a >> 32 & x86.U32, want)
        return x86.OUT_NONE
    if kind == op.TABLE_WRITE:
        return store_unmapped(m, vcpu, a, aux, b)
    if not m.vm[cpu + x86.BOOTED]:
        return -1 - SKIP_NOT_BOOTED
    if op.LD <= kind <= op.ST1:
        if kind == op.LD:
            return access(m, vcpu, a, READ, user, 8, 0)
        if kind == op.EX:
            return access(m, vcpu, a, FETCH, user, 8, 0)
        return access(m, vcpu, a, WRITE, user, store_size(kind), b)
    pending = enter_guest(m, vcpu)
    if pending or m.vm[x86.BUG]:
        return pending
    if kind == op.UNPROTECT:
        m.vm[x86.OUT_ADDRESS] = unprotect(m, cpu, a)
        return x86.OUT_RETURN
    m.vm[x86.INTERCEPTS] += 1
    if kind == op.SET_CR3:
        return set_cr3(m, cpu, a)
    if kind == op.INVLPG:
        invlpg(m, cpu, a)
        return x86.OUT_NONE
    if kind == op.SET_CR0:
        return set_cr0(m, cpu, a)
    if kind == op.SET_CR4:
        return set_cr4(m, cpu, a)
    if kind == op.SET_EFER:
        return set_efer(m, cpu, a)
    if kind == op.UNSHADOW:
        m.vm[x86.HYPERCALLS] += 1
        unshadow(m, a >> x86.PAGE_SHIFT)
        return x86.OUT_NONE
    return -1 - SKIP_UNSUPPORTED


@kernel
def judge(code: int, address: int, cls: int, want: int) -> int:
    """Which column of the tally an access belongs to, given what the real guest did."""
    if cls == op.WITNESS_UNSEEN:
        return OTHER if code == x86.OUT_LIVELOCK else AS_WITNESSED
    if cls == op.WITNESS_FAULT:
        if code == x86.OUT_PF or code == x86.OUT_PF_DIRECT:
            return AS_WITNESSED if address == want else WRONG_CODE
        return MISSED_FAULT if code == x86.OUT_OK else OTHER
    if code == x86.OUT_OK:
        return AS_WITNESSED if cls == op.WITNESS_NONE or address == want else WRONG_ADDRESS
    if code == x86.OUT_PF or code == x86.OUT_PF_DIRECT:
        return SPURIOUS_FAULT
    return OTHER


@kernel
def write_record(
    m: Machine, log: Log, row: int, code: int, deviation: int, walked: int, stale: int
) -> None:
    """Append one record."""
    place = log.state[NEXT] * PACKED_WORDS
    log.state[NEXT] += 1
    what = (code << CODE_SHIFT) | (deviation << DEVIATION_SHIFT) | (stale << 1)
    log.records[place] = (row << ROW_SHIFT) | what | m.vm[x86.OUT_EMULATED]
    log.records[place + 1] = m.vm[x86.OUT_ADDRESS]
    log.records[place + 2] = m.vm[x86.OUT_VALUE]
    log.records[place + 3] = walked


@kernel
def account(m: Machine, ops: op.Operations, i: int, index: int, code: int, log: Log) -> None:
    """Tally an access and keep a record of it if it says more than "as the real guest did"."""
    cls = ops.cls[i]
    column = judge(code, m.vm[x86.OUT_ADDRESS], cls, ops.want[i])
    place = TALLY + cls * TALLY_WORDS
    log.state[place + column] += 1
    if column == AS_WITNESSED:
        if cls in (op.WITNESS_NONE, op.WITNESS_UNSEEN) or log.state[RECORD_ALL]:
            write_record(m, log, i, code, 0, 0, 0)
        return
    kind = ops.kind[i]
    walked = probe(m, cpu_of(ops.vcpu[i]), ops.a[i], kind >= op.ST, ops.user[i], kind == op.EX)
    agrees = (code == x86.OUT_OK and walked == m.vm[x86.OUT_ADDRESS]) or (
        code in (x86.OUT_PF, x86.OUT_PF_DIRECT) and walked == -1 - m.vm[x86.OUT_ADDRESS]
    )
    stale = 0 if agrees else 1
    log.state[place + (STALE if stale else NOT_STALE)] += 1
    first = FIRST_STALE if stale else FIRST_OTHER
    if log.state[first] == 0:
        log.state[first] = index + 1
    write_record(m, log, i, code, column + 1, walked, stale)


@kernel
def note_answer(m: Machine, log: Log, kind: int, code: int) -> None:
    """Count what an operation that is no access answered."""
    if code == x86.OUT_GP:
        log.state[ANSWERS + REFUSED_WRITES] += 1
    elif code == x86.OUT_RETURN:
        which = UNPROTECT_FOUND
        if kind == op.UNMAP:
            which = UNMAP_FOUND
        elif kind == op.AGE:
            which = AGE_YOUNG
        elif kind == op.SHRINK:
            which = SHRINK_LEFT
        log.state[ANSWERS + which] += max(0, m.vm[x86.OUT_ADDRESS])


@kernel
def write_row(m: Machine, log: Log, i: int) -> None:
    """Keep all counters as they are after row ``i``."""
    for c in range(x86.COUNTER_COUNT):
        log.rows[i * x86.COUNTER_COUNT + c] = m.vm[c]


@kernel
def after_quick_access(
    m: Machine, ops: op.Operations, i: int, index: int, gpa: int, log: Log
) -> None:
    """Account for an access that took the short way and reached ``gpa``."""
    m.vm[x86.OUT_ADDRESS] = gpa
    m.vm[x86.OUT_VALUE] = read_word(m, gpa & ~7) if ops.kind[i] == op.LD else 0
    m.vm[x86.OUT_EMULATED] = 0
    if ops.cls[i] == op.WITNESS_UNSEEN:
        log.state[TALLY + op.WITNESS_UNSEEN * TALLY_WORDS + AS_WITNESSED] += 1
        write_record(m, log, i, x86.OUT_OK, 0, 0, 0)
    else:
        account(m, ops, i, index, x86.OUT_OK, log)
    if log.state[ROWS]:
        write_row(m, log, i)


@door
def run(m: Machine, ops: op.Operations, start: int, end: int, shift: int, log: Log) -> int:
    """Execute rows ``start`` to ``end`` - 1; answers the first row not done.

    ``shift`` plus the row's number is its operation index. The loop leaves early before
    a row that needs the engine or more room, after one that broke the kernel, and wherever it is
    once another thread has set ``ABORTED``; then the host is of no use any more.
    """
    memory_words = len(m.mem)
    m, ops, log = bare(m), bare(ops), bare(log)
    vm = m.vm
    log.state[SHIFT] = shift
    tells_all = log.state[RECORD_ALL] or log.state[ROWS]
    for i in range(start, end):
        kind = ops.kind[i]
        if op.LD <= kind <= op.ST1 and ops.vcpu[i] < vm[x86.VCPU_COUNT]:
            cpu = cpu_of(ops.vcpu[i])
            gpa = quick_access(m, cpu, kind, ops.user[i], ops.a[i], ops.b[i])
            if gpa >= 0:
                if gpa == ops.want[i] and ops.cls[i] == op.WITNESS_ACCESS and not tells_all:
                    log.state[TALLY + op.WITNESS_ACCESS * TALLY_WORDS] += 1
                else:
                    after_quick_access(m, ops, i, i + shift, gpa, log)
                continue
        aux = ops.aux[i]
        if not has_room(m, memory_words) or needs_engine(m, kind, aux):
            return i
        if vm[x86.EVENT_END] and not events_fit(m, i + shift):
            return i
        if shared_word(vm, x86.ABORTED):
            return i
        begin_steps(m)
        vm[x86.OUT_ADDRESS] = 0
        vm[x86.OUT_VALUE] = 0
        vm[x86.OUT_EMULATED] = 0
        vcpu = ops.vcpu[i]
        if is_of_host(kind):
            code = host_operation(m, kind, aux, ops.a[i], ops.b[i])
        elif vcpu < vm[x86.VCPU_COUNT]:
            user, want = ops.user[i], ops.want[i]
            code = guest_operation(m, kind, vcpu, user, aux, ops.a[i], ops.b[i], want)
        else:
            code = -1 - SKIP_NOT_BOOTED
        if vm[x86.BUG]:
            return i
        if code < 0:
            log.state[SKIPPED - 1 - code] += 1
        elif op.LD <= kind <= op.ST1:
            account(m, ops, i, i + shift, code, log)
        elif code != x86.OUT_NONE:
            note_answer(m, log, kind, code)
            write_record(m, log, i, code, 0, 0, 0)
        if log.state[ROWS]:
            write_row(m, log, i)
    return end

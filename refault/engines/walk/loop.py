"""Executes rows of operations: accesses, stores, control registers, changes of memory slots."""

from __future__ import annotations

from refault.engines.walk.paging import (
    cpu_of,
    frame_of,
    levels_of,
    read_word,
    walk,
    write_guest,
    write_word,
)
from refault.engines.walk.words import (
    ABORTED,
    ADDRESS,
    BOOTED,
    CR0,
    CR3,
    CR4,
    EFER,
    FRAMES_PER_OPERATION,
    MEM_NEXT,
    PDPTES,
    SLOT_BASE,
    SLOT_PAGES,
    SLOT_USED,
    SLOT_WORDS,
    SLOTS,
    VALUE,
    VCPU_COUNT,
    Machine,
)
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel, shared_word
from refault.replay.records import (
    AS_WITNESSED,
    CODE_SHIFT,
    DEVIATION_SHIFT,
    FIRST_OTHER,
    NOT_STALE,
    RECORD_ALL,
    SHIFT,
    SKIP_NOT_BOOTED,
    SKIP_OUTSIDE_MEMORY,
    SKIP_UNSUPPORTED,
    SKIPPED,
    TALLY,
    TALLY_WORDS,
    Log,
    judge,
    note_answer,
    write_record,
)
from refault.trace.format import MAX_SLOTS

# Registers of the processor that a 2.6.34 host presents to its guests: no SMEP, SMAP or PCID.
CR0_BITS = 0xE005_003F
CR4_BITS = 0x07FF
CR3_BITS = 0x0000_00FF_FFFF_FFFF
EFER_BITS = 0xD01
PDPTE_INPUTS = x86.CR4_PGE | x86.CR4_PSE | x86.CR4_PAE  # a write that changes one reloads them


@kernel
def load_pdptes(m: Machine, cpu: int, cr3: int) -> bool:
    """Cache the four entries at ``cr3`` (SDM 4.4.1), unless one has a reserved bit."""
    table = cr3 & 0xFFFF_FFE0
    if frame_of(m, table >> x86.PAGE_SHIFT) == 0:
        return False
    for i in range(4):
        entry = read_word(m, table + 8 * i)
        if entry & x86.PRESENT and entry & x86.RSVD_PDPTE:
            return False
    for i in range(4):
        m.state[cpu + PDPTES + i] = read_word(m, table + 8 * i)
    return True


@kernel
def boot(m: Machine, cpu: int, registers: int, cr3: int, efer: int) -> None:
    """Set all registers of a vCPU at once: CR0 and, above it, CR4 in ``registers``."""
    state = m.state
    state[cpu + CR0] = registers & x86.U32 | x86.CR0_ET
    state[cpu + CR3] = cr3
    state[cpu + CR4] = registers >> 32 & x86.U32
    state[cpu + EFER] = efer
    state[cpu + BOOTED] = 1
    if levels_of(m, cpu) == x86.PAE_LEVELS:
        load_pdptes(m, cpu, cr3)


@kernel
def set_cr0(m: Machine, cpu: int, value: int) -> int:
    """MOV to CR0 (SDM 2, MOV-CR): setting PG sets LMA if LME is set."""
    state = m.state
    if value >> 32 or (value & x86.CR0_NW and not value & x86.CR0_CD):
        return out.GP
    if value & x86.CR0_PG and not value & x86.CR0_PE:
        return out.GP
    turns_on = value & x86.CR0_PG and not state[cpu + CR0] & x86.CR0_PG
    pae = state[cpu + CR4] & x86.CR4_PAE
    if turns_on:
        if state[cpu + EFER] & x86.EFER_LME:
            if not pae:
                return out.GP
            state[cpu + EFER] |= x86.EFER_LMA
        elif pae and not load_pdptes(m, cpu, state[cpu + CR3]):
            return out.GP
    elif not value & x86.CR0_PG:
        state[cpu + EFER] &= ~x86.EFER_LMA
    state[cpu + CR0] = value & CR0_BITS | x86.CR0_ET
    return out.NONE


@kernel
def set_cr3(m: Machine, cpu: int, value: int) -> int:
    """MOV to CR3: with PAE paging it loads the PDPTEs."""
    levels = levels_of(m, cpu)
    if levels == x86.LONG_LEVELS and value & ~CR3_BITS:
        return out.GP
    if levels == x86.PAE_LEVELS and not load_pdptes(m, cpu, value):
        return out.GP
    m.state[cpu + CR3] = value
    return out.NONE


@kernel
def set_cr4(m: Machine, cpu: int, value: int) -> int:
    """MOV to CR4: PAE cannot be cleared in long mode."""
    state = m.state
    if value & ~CR4_BITS:
        return out.GP
    if state[cpu + EFER] & x86.EFER_LMA:
        if not value & x86.CR4_PAE:
            return out.GP
    elif (
        state[cpu + CR0] & x86.CR0_PG
        and value & x86.CR4_PAE
        and (value ^ state[cpu + CR4]) & PDPTE_INPUTS
        and not load_pdptes(m, cpu, state[cpu + CR3])
    ):
        return out.GP
    state[cpu + CR4] = value
    return out.NONE


@kernel
def set_efer(m: Machine, cpu: int, value: int) -> int:
    """WRMSR to EFER: LME cannot change while paging is on; the guest cannot write LMA."""
    state = m.state
    old = state[cpu + EFER]
    if value & ~EFER_BITS:
        return out.GP
    if state[cpu + CR0] & x86.CR0_PG and (value ^ old) & x86.EFER_LME:
        return out.GP
    state[cpu + EFER] = value & ~x86.EFER_LMA | old & x86.EFER_LMA
    return out.NONE


@kernel
def access(m: Machine, cpu: int, kind: int, user: int, gva: int, value: int) -> int:
    """One load, fetch or store; outside memory is a device, from which no fetch is possible."""
    writes = kind >= op.ST
    code = walk(m, cpu, gva, writes, user, kind == op.EX)
    if code != out.OK:
        return code
    gpa = m.result[ADDRESS]
    if frame_of(m, gpa >> x86.PAGE_SHIFT) == 0:
        return out.FAIL if kind == op.EX else out.MMIO
    if writes:
        write_guest(m, gpa, 8 >> (kind - op.ST), value)
    elif kind == op.LD:
        m.result[VALUE] = read_word(m, gpa & ~7)
    return out.OK


@kernel
def memory_operation(m: Machine, kind: int, aux: int, a: int, b: int) -> int:
    """An operation of the host that changes memory; -1 - SKIP_* if it cannot be executed."""
    if kind == op.POKE or kind == op.TABLE_WRITE:
        if frame_of(m, a >> x86.PAGE_SHIFT) == 0:
            return -1 - SKIP_OUTSIDE_MEMORY
        if kind == op.POKE:
            write_word(m, a & ~7, b)
        else:
            write_guest(m, a, aux, b)
    elif kind == op.MEM or kind == op.MEM_DELETE:
        slot = SLOTS + aux * SLOT_WORDS
        if aux >= MAX_SLOTS or not m.state[slot + SLOT_USED]:
            return -1 - SKIP_OUTSIDE_MEMORY
        if kind == op.MEM_DELETE:
            m.state[slot + SLOT_USED] = 0
        elif a != m.state[slot + SLOT_BASE] or b != m.state[slot + SLOT_PAGES]:
            return -1 - SKIP_UNSUPPORTED
    return out.NONE


@kernel
def operation(
    m: Machine, kind: int, vcpu: int, user: int, aux: int, a: int, b: int, want: int
) -> int:
    """Execute one row; answers an outcome, or -1 - SKIP_* if it cannot be executed."""
    is_of_guest = op.BOOT <= kind <= op.INVLPG or kind == op.SREGS
    if not is_of_guest:
        return memory_operation(m, kind, aux, a, b)
    if vcpu >= m.state[VCPU_COUNT]:
        return -1 - SKIP_NOT_BOOTED
    cpu = cpu_of(vcpu)
    if kind == op.BOOT:
        boot(m, cpu, a, b, want)
        return out.NONE
    if not m.state[cpu + BOOTED]:
        return -1 - SKIP_NOT_BOOTED
    if kind == op.SREGS:
        boot(m, cpu, a, b, want)
        return out.NONE
    if op.LD <= kind <= op.ST1:
        return access(m, cpu, kind, user, a, b)
    if kind == op.SET_CR0:
        return set_cr0(m, cpu, a)
    if kind == op.SET_CR3:
        return set_cr3(m, cpu, a)
    if kind == op.SET_CR4:
        return set_cr4(m, cpu, a)
    if kind == op.SET_EFER:
        return set_efer(m, cpu, a)
    return out.NONE


@kernel
def account(m: Machine, ops: op.Operations, i: int, index: int, code: int, log: Log) -> None:
    """Count an access in the tally, and record it unless it is only "as the real guest did"."""
    cls = ops.cls[i]
    address = m.result[ADDRESS]
    column = judge(code, address, cls, ops.want[i])
    place = TALLY + cls * TALLY_WORDS
    log.state[place + column] += 1
    what = code << CODE_SHIFT
    walked = 0
    if column == AS_WITNESSED:
        if cls != op.WITNESS_NONE and cls != op.WITNESS_UNSEEN and not log.state[RECORD_ALL]:
            return
    else:
        what |= (column + 1) << DEVIATION_SHIFT
        walked = -1 - address if code == out.PF else address
        log.state[place + NOT_STALE] += 1  # there are no cached translations
        if log.state[FIRST_OTHER] == 0:
            log.state[FIRST_OTHER] = index + 1
    write_record(log, i, what, address, m.result[VALUE], walked)


@door
def run(m: Machine, ops: op.Operations, start: int, end: int, shift: int, log: Log) -> int:
    """Execute rows ``start`` to ``end`` - 1; answers the first row not done.

    It ends early before a row that needs vCPUs, a slot or more memory, and once another thread
    has set ``ABORTED``.
    """
    memory_words = len(m.mem)
    m, ops, log = bare(m), bare(ops), bare(log)
    state = m.state
    log.state[SHIFT] = shift
    for i in range(start, end):
        kind, aux = ops.kind[i], ops.aux[i]
        if memory_words - state[MEM_NEXT] < FRAMES_PER_OPERATION * x86.ENTRIES:
            return i
        if kind == op.VM and state[VCPU_COUNT] == 0:
            return i
        if kind == op.MEM and (aux >= MAX_SLOTS or not state[SLOTS + aux * SLOT_WORDS + SLOT_USED]):
            return i
        if shared_word(state, ABORTED):
            return i
        m.result[ADDRESS] = 0
        m.result[VALUE] = 0
        a, b, want = ops.a[i], ops.b[i], ops.want[i]
        code = operation(m, kind, ops.vcpu[i], ops.user[i], aux, a, b, want)
        if code < 0:
            log.state[SKIPPED - 1 - code] += 1
        elif op.LD <= kind <= op.ST1:
            account(m, ops, i, i + shift, code, log)
        elif code == out.GP:
            note_answer(log, kind, code, 0)
            write_record(log, i, code << CODE_SHIFT, 0, 0, 0)
    return end

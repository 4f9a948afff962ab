"""From the outcomes a program gave to the records every engine keeps.

The program says what came of each operation; whether that is what the real guest saw is said here,
by the process that asked. A tree that breaks cannot call itself right; one that was written to
deceive could still answer what it was not shown by its tables.

Outcomes lie in memory that the program could go on writing. What decides (which rows it tells of,
and their codes) is copied before it is looked at; each other word is read once, and no index is
made of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.engines.kernel.channel import SKIPPED, WITNESSED
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay.compile.jit import bare, door, kernel, shared_word
from refault.replay.records import (
    AS_WITNESSED,
    CODE_SHIFT,
    DEVIATION_SHIFT,
    FIRST_OTHER,
    FIRST_STALE,
    LOG_JUDGED,
    LOST_SHIFT,
    NEXT,
    NOT_STALE,
    RECORD_ALL,
    SHIFT,
    SKIP_NOT_BOOTED,
    SKIP_OUTSIDE_MEMORY,
    SKIP_UNSUPPORTED,
    STALE,
    TALLY,
    TALLY_WORDS,
    Log,
    judge,
    note_answer,
    note_log,
    write_record,
)
from refault.replay.records import (
    SKIPPED as SKIPPED_COUNTS,
)

#: Words of the digest of outcomes that each record has: event, code, address, value.
SEEN_WORDS = 4


class Told(NamedTuple):
    """The rows that the program tells of, in order, and their codes: a copy of what it wrote.

    ``count`` has one word. All others came out at the address that the real guest reached.
    """

    count: Any
    row: Any
    code: Any


class Outcomes(NamedTuple):
    """What the program says came of each of them, column by column, where it could still write.

    Unless all records are kept, of an access with the witnessed fault only the address is written.
    """

    emulated: Any
    address: Any
    value: Any
    probe: Any


class Seen(NamedTuple):
    """What guest and host saw of each record, as the digest takes it; ``count`` has one word.

    ``lawful`` is the same but for what a dirty log may hold beyond what was written.
    """

    count: Any
    words: Any
    lawful: Any


@kernel
def keep(
    ops: op.Operations,
    i: int,
    what: int,
    address: int,
    value: int,
    probe: int,
    log: Log,
    seen: Seen,
) -> None:
    """Append to the stream of outcomes; what deviates is also kept for its finding."""
    place = seen.count[0] * SEEN_WORDS
    seen.count[0] += 1
    code = (what >> CODE_SHIFT) & 15
    seen.words[place] = ops.event[i]
    seen.words[place + 1] = out.PF if code == out.PF_DIRECT else code
    seen.words[place + 2] = address
    seen.words[place + 3] = value
    is_log = ops.kind[i] == op.GET_DIRTY_LOG and probe & LOG_JUDGED
    seen.lawful[place] = ops.event[i]
    seen.lawful[place + 1] = seen.words[place + 1]
    seen.lawful[place + 2] = probe >> LOST_SHIFT if is_log else address
    seen.lawful[place + 3] = 0 if is_log else value
    if (what >> DEVIATION_SHIFT) & 7 or log.state[RECORD_ALL]:
        write_record(log, i, what, address, value, probe)


@kernel
def account(
    ops: op.Operations,
    i: int,
    code: int,
    address: int,
    index: int,
    outcomes: Outcomes,
    place: int,
    log: Log,
    seen: Seen,
) -> None:
    """Tally an access and keep a record of it if it says more than "as the real guest did"."""
    cls = ops.cls[i]
    column = judge(code, address, cls, ops.want[i])
    tally = TALLY + cls * TALLY_WORDS
    log.state[tally + column] += 1
    if column == AS_WITNESSED and not (
        cls == op.WITNESS_NONE or cls == op.WITNESS_UNSEEN or log.state[RECORD_ALL]
    ):
        return
    value = shared_word(outcomes.value, place)
    what = (code << CODE_SHIFT) | (outcomes.emulated[place] & 1)
    if column == AS_WITNESSED:
        keep(ops, i, what, address, value, 0, log, seen)
        return
    probe = shared_word(outcomes.probe, place)
    agrees = (code == out.OK and probe == address) or (code == out.PF and probe == -1 - address)
    stale = 0 if agrees else 1
    log.state[tally + (STALE if stale else NOT_STALE)] += 1
    first = FIRST_STALE if stale else FIRST_OTHER
    if log.state[first] == 0:
        log.state[first] = index + 1
    what |= (column + 1) << DEVIATION_SHIFT | stale << 1
    keep(ops, i, what, address, value, probe, log, seen)


@kernel
def note_skipped(code: int, log: Log) -> bool:
    """Count a row that was not executed; False if no reason is known by that number."""
    if code == SKIPPED + SKIP_NOT_BOOTED:
        log.state[SKIPPED_COUNTS + SKIP_NOT_BOOTED] += 1
    elif code == SKIPPED + SKIP_OUTSIDE_MEMORY:
        log.state[SKIPPED_COUNTS + SKIP_OUTSIDE_MEMORY] += 1
    elif code == SKIPPED + SKIP_UNSUPPORTED:
        log.state[SKIPPED_COUNTS + SKIP_UNSUPPORTED] += 1
    else:
        return False
    return True


@kernel
def other_row(
    ops: op.Operations,
    i: int,
    code: int,
    kind: int,
    outcomes: Outcomes,
    place: int,
    log: Log,
    seen: Seen,
) -> bool:
    """Work off a row that is no access, or was not executed; False if nothing comes out so."""
    if code >= SKIPPED:
        return note_skipped(code, log)
    if code > out.RETURN or op.LD <= kind <= op.ST1:
        return False
    if code != out.NONE:
        address = shared_word(outcomes.address, place)
        value = shared_word(outcomes.value, place)
        note_answer(log, kind, code, address)
        what, judged = code << CODE_SHIFT, 0
        if kind == op.GET_DIRTY_LOG:
            judged = shared_word(outcomes.probe, place)
            judged = judged if judged >= 0 and judged & LOG_JUDGED else 0
            if judged:
                what |= note_log(log, address, judged)
        keep(ops, i, what, address, value, judged, log, seen)
    return True


@kernel
def is_witnessed(kind: int, cls: int) -> bool:
    """Whether a row may have come out at a witnessed address: an access that has one."""
    return op.LD <= kind <= op.ST1 and op.WITNESS_ACCESS <= cls <= op.WITNESS_SNAPSHOT


@kernel
def tally_witnessed(ops: op.Operations, start: int, end: int, sign: int, log: Log) -> int:
    """Tally rows as if all had come out as witnessed that can have; answers how many cannot.

    Sums without a branch, which the compiler does on many rows at a time.
    """
    accesses = stores = snapshots = 0
    for i in range(start, end):
        is_access = (ops.kind[i] >= op.LD) & (ops.kind[i] <= op.ST1)
        cls = ops.cls[i]
        accesses += is_access & (cls == op.WITNESS_ACCESS)
        stores += is_access & (cls == op.WITNESS_TABLE_STORE)
        snapshots += is_access & (cls == op.WITNESS_SNAPSHOT)
    log.state[TALLY + op.WITNESS_ACCESS * TALLY_WORDS + AS_WITNESSED] += sign * accesses
    log.state[TALLY + op.WITNESS_TABLE_STORE * TALLY_WORDS + AS_WITNESSED] += sign * stores
    log.state[TALLY + op.WITNESS_SNAPSHOT * TALLY_WORDS + AS_WITNESSED] += sign * snapshots
    return end - start - accesses - stores - snapshots


@kernel
def work_off(
    ops: op.Operations,
    i: int,
    code: int,
    index: int,
    outcomes: Outcomes,
    place: int,
    log: Log,
    seen: Seen,
) -> bool:
    """Work off one row that is told of, ``code`` being what it says; False if it cannot be."""
    kind = ops.kind[i]
    if is_witnessed(kind, ops.cls[i]):
        if code == WITNESSED and not log.state[RECORD_ALL]:
            return True
        tally_witnessed(ops, i, i + 1, -1, log)
    if op.LD <= kind <= op.ST1 and out.NONE < code < out.RETURN:
        address = shared_word(outcomes.address, place)
        account(ops, i, code, address, index, outcomes, place, log, seen)
        return True
    return other_row(ops, i, code, kind, outcomes, place, log, seen)


@door
def take(
    ops: op.Operations,
    told: Told,
    outcomes: Outcomes,
    start: int,
    end: int,
    shift: int,
    log: Log,
    seen: Seen,
) -> int:
    """Work off rows ``start`` to ``end`` - 1; answers ``end``, or a row with no possible outcome.

    Rows that are not told of came out as witnessed. Outcomes are a stranger's: a code is looked at
    before anything is counted by it, and so is whether a row is left out that had to be told of.
    """
    ops, told, outcomes = bare(ops), bare(told), bare(outcomes)
    log, seen = bare(log), bare(seen)
    log.state[SHIFT] = shift
    log.state[NEXT] = 0
    seen.count[0] = 0
    due = tally_witnessed(ops, start, end, 1, log)
    last = start - 1
    for place in range(told.count[0]):
        i = told.row[place]
        if not last < i < end:
            return start
        last = i
        if not is_witnessed(ops.kind[i], ops.cls[i]):
            due -= 1
        if not work_off(ops, i, told.code[place], i + shift, outcomes, place, log, seen):
            return i
    return end if due == 0 else start

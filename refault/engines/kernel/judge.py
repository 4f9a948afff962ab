"""From the outcomes a program gave to the records every engine keeps.

The program says what came of each operation; whether that is what the real guest saw is said here,
by the process that asked. A tree that breaks cannot call itself right; one that was written to
deceive could still answer what it was not shown by its tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.engines.kernel.channel import SKIPPED
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay.compile.jit import door, kernel
from refault.replay.records import (
    AGE_YOUNG,
    ANSWERS,
    AS_WITNESSED,
    CODE_SHIFT,
    DEVIATION_SHIFT,
    FIRST_OTHER,
    FIRST_STALE,
    NOT_STALE,
    RECORD_ALL,
    REFUSED_WRITES,
    SHIFT,
    SHRINK_LEFT,
    SKIP_REASONS,
    STALE,
    TALLY,
    TALLY_WORDS,
    UNMAP_FOUND,
    UNPROTECT_FOUND,
    Log,
    judge,
    write_record,
)
from refault.replay.records import (
    SKIPPED as SKIPPED_COUNTS,
)

REASONS = len(SKIP_REASONS)


class Outcomes(NamedTuple):
    """What the program says came of each row, column by column."""

    code: Any
    emulated: Any
    address: Any
    value: Any
    probe: Any


@kernel
def account(ops: op.Operations, i: int, index: int, outcomes: Outcomes, log: Log) -> None:
    """Tally an access and keep a record of it if it says more than "as the real guest did"."""
    code, address = outcomes.code[i], outcomes.address[i]
    value, probe = outcomes.value[i], outcomes.probe[i]
    cls = ops.cls[i]
    column = judge(code, address, cls, ops.want[i])
    place = TALLY + cls * TALLY_WORDS
    log.state[place + column] += 1
    what = (code << CODE_SHIFT) | (outcomes.emulated[i] & 1)
    if column == AS_WITNESSED:
        if cls in (op.WITNESS_NONE, op.WITNESS_UNSEEN) or log.state[RECORD_ALL]:
            write_record(log, i, what, address, value, 0)
        return
    agrees = (code == out.OK and probe == address) or (code == out.PF and probe == -1 - address)
    stale = 0 if agrees else 1
    log.state[place + (STALE if stale else NOT_STALE)] += 1
    first = FIRST_STALE if stale else FIRST_OTHER
    if log.state[first] == 0:
        log.state[first] = index + 1
    what |= (column + 1) << DEVIATION_SHIFT | stale << 1
    write_record(log, i, what, address, value, probe)


@kernel
def note_answer(kind: int, code: int, answer: int, log: Log) -> None:
    """Count what an operation that is no access answered."""
    if code == out.GP:
        log.state[ANSWERS + REFUSED_WRITES] += 1
        return
    if kind == op.GET_DIRTY_LOG:
        return
    which = UNPROTECT_FOUND
    if kind == op.UNMAP or kind == op.UNMAP_RANGE:
        which = UNMAP_FOUND
    elif kind == op.AGE:
        which = AGE_YOUNG
    elif kind == op.SHRINK:
        which = SHRINK_LEFT
    log.state[ANSWERS + which] += max(0, answer)


@door
def take(ops: op.Operations, outcomes: Outcomes, start: int, end: int, shift: int, log: Log) -> int:
    """Work off rows ``start`` to ``end`` - 1; answers ``end``, or a row with no possible outcome.

    Outcomes are a stranger's: a code is looked at before anything is counted by it.
    """
    log.state[SHIFT] = shift
    for i in range(start, end):
        code, kind = outcomes.code[i], ops.kind[i]
        if code >= SKIPPED:
            if code - SKIPPED >= REASONS:
                return i
            log.state[SKIPPED_COUNTS + code - SKIPPED] += 1
            continue
        is_access = op.LD <= kind <= op.ST1
        if code > out.RETURN or (is_access and code in (out.NONE, out.RETURN)):
            return i
        if is_access:
            account(ops, i, i + shift, outcomes, log)
        elif code != out.NONE:
            if code == out.GP or code == out.RETURN:
                note_answer(kind, code, outcomes.address[i], log)
            write_record(log, i, code << CODE_SHIFT, outcomes.address[i], outcomes.value[i], 0)
    return end

"""What an engine's loop records of a block of operations, and how an access is judged.

Every engine fills the same :class:`Log`, so that findings, tallies and the digest of outcomes are
made in one place (:mod:`refault.replay.findings`). A record is four words::

    row << 16 │ code << 8 │ deviation << 4 │ stale << 1 │ emulated     address     value     probe

and unfolds into ``RECORD_WORDS`` columns. An access that came out as witnessed, at a known
address, leaves no record and is only counted in the tally.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay.compile.jit import kernel

# log.state[]
NEXT = 0  # records written
RECORD_ALL = 1  # record every access, not only deviations
# 0, or 1 + the rows in log.rows: of each operation that left the fast path, which changes no
# counter, its place in the block and all counters after it
ROWS = 2
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
# A deviation that is in no tally: a dirty log that lacks written pages.
LOST = 6
ANSWERS = 64  # what operations other than accesses answered, in the order of results.ANSWERS
REFUSED_WRITES = 0  # register writes with #GP
UNMAP_FOUND = 1
AGE_YOUNG = 2
SHRINK_LEFT = 3  # pages, over all calls
UNPROTECT_FOUND = 4
ANSWER_COUNT = 5
# Of dirty logs that were read, in the order of results.LOGS but for the last
LOG_READS = 69
LOG_PAGES = 70
LOG_WRITTEN = 71
LOG_LOST = 74
FIRST_STALE = 72  # operation index + 1, 0: none
FIRST_OTHER = 73
SKIPPED = 76  # operations that could not be executed, by SKIP_*
SKIP_NOT_BOOTED = 0
SKIP_OUTSIDE_MEMORY = 1
SKIP_UNSUPPORTED = 2
SKIP_REASONS = ("vcpu-not-booted", "outside-memory", "unsupported")
SHIFT = 80  # operation index of a row minus its place in the block
STATE_WORDS = 81

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
# Result of a walk of the guest's own tables: gpa, or -1 - #PF code. Of a dirty log that an engine
# held against what was written: pages it lacks, pages written, and LOG_JUDGED.
PROBE = 6
LOST_SHIFT = 32
LOG_JUDGED = 1
IS_STALE = 7
ROW = 8  # place in the block


class Log(NamedTuple):
    """What one block of operations leaves behind."""

    state: Any
    records: Any
    rows: Any


def new_log(operations: int, *, interpreted: bool, counter_count: int = 0) -> Log:
    """Room for the records of so many rows, and for ``counter_count`` numbers after each."""
    sizes = (STATE_WORDS, operations * PACKED_WORDS, operations * counter_count or 1)
    log = Log(*([0] * size if interpreted else np.zeros(size, np.int64) for size in sizes))
    log.state[ROWS] = int(counter_count > 0)
    return log


@kernel
def judge(code: int, address: int, cls: int, want: int) -> int:
    """Which column of the tally an access belongs to, given what the real guest did."""
    if cls == op.WITNESS_UNSEEN:
        return OTHER if code == out.LIVELOCK else AS_WITNESSED
    if cls == op.WITNESS_FAULT:
        if code == out.PF or code == out.PF_DIRECT:
            return AS_WITNESSED if address == want else WRONG_CODE
        return MISSED_FAULT if code == out.OK else OTHER
    if code == out.OK:
        return AS_WITNESSED if cls == op.WITNESS_NONE or address == want else WRONG_ADDRESS
    if code == out.PF or code == out.PF_DIRECT:
        return SPURIOUS_FAULT
    return OTHER


@kernel
def note_answer(log: Log, kind: int, code: int, answer: int) -> None:
    """Count what an operation other than an access answered; of a log, :func:`note_log` does."""
    if code == out.GP:
        log.state[ANSWERS + REFUSED_WRITES] += 1
    elif code == out.RETURN and kind != op.GET_DIRTY_LOG:
        which = UNPROTECT_FOUND
        if kind == op.UNMAP or kind == op.UNMAP_RANGE:
            which = UNMAP_FOUND
        elif kind == op.AGE:
            which = AGE_YOUNG
        elif kind == op.SHRINK:
            which = SHRINK_LEFT
        log.state[ANSWERS + which] += max(0, answer)


@kernel
def note_log(log: Log, pages: int, judged: int) -> int:
    """Count a log of so many pages, held against what was written: the last word of its record.

    Answers the deviation, in the bits of a record's first word: a log that lacks written pages.
    """
    lost = judged >> LOST_SHIFT
    log.state[LOG_READS] += 1
    log.state[LOG_PAGES] += pages
    log.state[LOG_WRITTEN] += (judged & ((1 << LOST_SHIFT) - 1)) >> 1
    log.state[LOG_LOST] += lost
    return (LOST + 1) << DEVIATION_SHIFT if lost else 0


@kernel
def write_record(log: Log, row: int, what: int, address: int, value: int, walked: int) -> None:
    """Append one record; ``what`` is its first word without the row."""
    place = log.state[NEXT] * PACKED_WORDS
    log.state[NEXT] += 1
    log.records[place] = (row << ROW_SHIFT) | what
    log.records[place + 1] = address
    log.records[place + 2] = value
    log.records[place + 3] = walked

"""KVM's tracepoints (mmutrace.h, trace.h): rows of words, formatted as lines later.

A row is written where KVM has the tracepoint, with what it records there. The rows follow
the vCPUs in ``vm[]``, where there is room only if an event log was asked for::

    stamp │ processor │ event │ five arguments

:mod:`refault.engines.shadow.eventlog` empties it between two operations. There is room for what any
operation emits whose zaps end; what a spinning kernel emits beyond that is counted as lost.
"""

from __future__ import annotations

from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import EVENTS_PER_OPERATION, EVENTS_PER_PAGE, Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel

STAMP = 0
PROCESSOR = 1
EVENT = 2
ARGUMENTS = 3

PAGETABLE_WALK = 0  # gva, requested access as bits of a #PF code
PAGING_ELEMENT = 1  # entry, level
SET_ACCESSED_BIT = 2  # gpa of the entry
SET_DIRTY_BIT = 3
WALKER_ERROR = 4  # #PF code
GET_PAGE = 5  # of a page: gfn, role, root count, unsync; whether it was made
SYNC_PAGE = 6
UNSYNC_PAGE = 7
ZAP_PAGE = 8
PAGE_FAULT = 9  # gva, #PF code as the processor gave it
CR = 10  # number, value
AGE_PAGE = 11  # gfn, whether a mapping was found


@kernel
def events_fit(m: Machine, operation_index: int) -> bool:
    """Begin an operation in the log; False if the log must be emptied before."""
    vm = m.vm
    vm[words.EVENT_STAMP] = operation_index
    rows = (vm[words.EVENT_END] - vm[words.EVENT_NEXT]) // words.EVENT_WORDS
    return rows >= EVENTS_PER_OPERATION + EVENTS_PER_PAGE * vm[words.ACTIVE]


@kernel
def emit(m: Machine, event: int, a: int, b: int, c: int, d: int, e: int) -> None:
    """Append a row, or count it as lost."""
    vm = m.vm
    row = vm[words.EVENT_NEXT]
    if row + words.EVENT_WORDS > vm[words.EVENT_END]:
        vm[words.EVENTS_LOST] += 1
        return
    vm[words.EVENT_NEXT] = row + words.EVENT_WORDS
    vm[row + STAMP] = vm[words.EVENT_STAMP]
    vm[row + PROCESSOR] = vm[words.CURRENT_CPU]
    vm[row + EVENT] = event
    vm[row + ARGUMENTS] = a
    vm[row + ARGUMENTS + 1] = b
    vm[row + ARGUMENTS + 2] = c
    vm[row + ARGUMENTS + 3] = d
    vm[row + ARGUMENTS + 4] = e


@kernel
def trace(m: Machine, event: int, a: int, b: int) -> None:
    """Emit an event of at most two arguments, if there is a log."""
    if m.vm[words.EVENT_END]:
        emit(m, event, a, b, 0, 0, 0)


@kernel
def trace_page(m: Machine, event: int, sp: int, created: int) -> None:
    """Emit an event of a shadow page, with its state at this moment."""
    if m.vm[words.EVENT_END]:
        page = m.page
        emit(
            m,
            event,
            page[sp + words.GFN],
            page[sp + words.ROLE],
            page[sp + words.ROOT_COUNT],
            page[sp + words.UNSYNC],
            created,
        )


@kernel
def trace_walk(m: Machine, gva: int, write: int, user: int, fetch: int) -> None:
    """Emit the beginning of a walk of the guest's tables."""
    if m.vm[words.EVENT_END]:
        asked = x86.PF_WRITE if write else 0
        if user:
            asked |= x86.PF_USER
        if fetch:
            asked |= x86.PF_FETCH
        emit(m, PAGETABLE_WALK, gva, asked, 0, 0, 0)

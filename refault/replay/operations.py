"""Operations: what the simulated host executes, one row each.

A capture's events become operations by the rules of :mod:`refault.replay.lowering.events`; a trace
of operations contains them. Columns of a row::

    kind   an EventKind ≥ OP_VM        user   1: CPL 3 (for OP_MEM: host page level)
    vcpu   the vCPU that does it       aux    slot number
    a, b   as the event kind says; of OP_BOOT and OP_SREGS
           a = CR0 | CR4 << 32, b = CR3, want = EFER
    want   witness: the address reached, or the #PF code     cls   WITNESS_*
    event  index of the event it came from
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from refault.trace import EventKind, TraceHeader

VM = int(EventKind.OP_VM)
NOTE = int(EventKind.OP_NOTE)
MEM = int(EventKind.OP_MEM)
LOG = int(EventKind.OP_LOG)
POKE = int(EventKind.OP_POKE)
BOOT_CR = int(EventKind.OP_BOOT_CR)
BOOT = int(EventKind.OP_BOOT)
SET_CR0 = int(EventKind.OP_CR0)
SET_CR3 = int(EventKind.OP_CR3)
SET_CR4 = int(EventKind.OP_CR4)
SET_EFER = int(EventKind.OP_EFER)
LD = int(EventKind.OP_LD)
EX = int(EventKind.OP_EX)
ST = int(EventKind.OP_ST)
ST4 = int(EventKind.OP_ST4)
ST2 = int(EventKind.OP_ST2)
ST1 = int(EventKind.OP_ST1)
INVLPG = int(EventKind.OP_INVLPG)
NR_PAGES = int(EventKind.OP_NR_PAGES)
DIRTYLOG = int(EventKind.OP_DIRTYLOG)
UNMAP = int(EventKind.OP_UNMAP)
AGE = int(EventKind.OP_AGE)
SHRINK = int(EventKind.OP_SHRINK)
ZAPALL = int(EventKind.OP_ZAPALL)
UNSHADOW = int(EventKind.OP_UNSHADOW)
UNPROTECT = int(EventKind.OP_UNPROTECT)
CHANGE_PTE = int(EventKind.OP_CHANGE_PTE)
MEM_DELETE = int(EventKind.OP_MEM_DELETE)
UNMAP_RANGE = int(EventKind.OP_UNMAP_RANGE)
LOG_OFF = int(EventKind.OP_LOG_OFF)
GET_DIRTY_LOG = int(EventKind.OP_GET_DIRTY_LOG)
SREGS_CR = int(EventKind.OP_SREGS_CR)
SREGS = int(EventKind.OP_SREGS)
#: Of captures only, and no event kind has this number: a store to a table through no known mapping.
#: ``a`` is its gpa, ``b`` the value, ``aux`` the size.
TABLE_WRITE = 200

# How the trace knows what the real guest did; NONE: it succeeded, at an unknown address
WITNESS_NONE = 0
WITNESS_ACCESS = 1
WITNESS_TABLE_STORE = 2
WITNESS_SNAPSHOT = 3
WITNESS_FAULT = 4
WITNESS_UNSEEN = 5  # an operation that was not captured from a real guest
WITNESS_CLASSES = ("none", "acc", "ptw", "snap", "pf")


def names_a_vcpu(kind: int) -> bool:
    """Whether an operation is told by the vCPU that does it (a finding names it)."""
    return BOOT <= kind <= INVLPG or kind == SREGS


class Operations(NamedTuple):
    """Rows of operations, column by column; arrays when compiled, lists when interpreted."""

    kind: Any
    vcpu: Any
    user: Any
    aux: Any
    cls: Any
    a: Any
    b: Any
    want: Any
    event: Any


def empty(capacity: int, *, interpreted: bool) -> Operations:
    """``capacity`` unused rows."""
    if interpreted:
        return Operations(*([0] * capacity for _ in range(9)))
    small = [np.zeros(capacity, np.uint8) for _ in range(5)]
    return Operations(*small, *(np.zeros(capacity, np.int64) for _ in range(4)))


def opening(header: TraceHeader, *, host_level: int = 1, interpreted: bool) -> Operations:
    """What comes before a capture's first event: its vCPUs and memory.

    The host's pages have at least ``host_level``.
    """
    rows = empty(1 + len(header.slots), interpreted=interpreted)
    rows.kind[0], rows.a[0] = VM, header.vcpu_count
    for i, slot in enumerate(header.slots, 1):
        rows.kind[i], rows.aux[i] = MEM, slot.slot
        rows.a[i], rows.b[i] = slot.base_gfn, slot.page_count
        rows.user[i] = max(slot.host_level, host_level)
    return rows

"""Words of an audit: what it remembers beside the host it checks.

Flat arrays of ``int64``, like a host's (:mod:`refault.engines.shadow.state.words`)::

    state    numbers, and per vCPU when it last flushed what
    found    FOUND_MAX findings of FOUND_WORDS
    keys     a hash set: which places were reported already
    past     nodes: an older value of a word of guest memory, and until when it stood
    heads    buckets of these nodes
    frames   of each record in the host's ``frame[]``: the leaf through which the guest last touched
             it; during a sweep, how many tables a large region has
    pages    of each shadow page's header: how many links lead to it, as a sweep counts them

A *time* is the index of an operation plus one; what was there before the first has time 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.replay.arrays import longer, zeros
from refault.replay.budget import Ask
from refault.trace.format import MAX_VCPUS

# --- state[] ----------------------------------------------------------------------------
NOW = 0  # time of the current operation
EVENT = 1  # its event
LEVEL = 2
FOUND = 3  # findings kept
WAS_FLOODED = 4
SWEEPS = 5
ACCESSES = 6  # outcomes checked
STEPS = 7  # entries looked at since the audit began
CREDIT = 8  # steps that sweeps may still take at level flush
UNFINISHED = 9  # sweeps that ended at their bound
PAST_NEXT = 10  # next unused node of past[]
POKED_COUNT = 11  # tables that changed behind the MMU
STEPS_END = 12  # where the current sweep ends
SYNCED = 15  # the vCPU that has just synced its roots, -1: none
IS_POKED = 13  # too many of them to remember
HAS_BEHIND = 14  # some node has BEHIND
# Before the operation
WAS_EXITS = 16
WAS_INTERCEPTS = 17
WAS_UNSYNC = 18  # out-of-sync pages
WAS_LOADED = 19  # its vCPU had roots and no request that changes them
STORE_AT = 20  # the word that a store is about to change, by the guest's tables; -1: none
STORE_OLD = 21
OTHER_AT = 22  # the same, by the shadow tables or the TLB
OTHER_OLD = 23
REREAD = 24  # gpa of the guest's entry that INVLPG is about to read again, or -1
HAS_AGED = 25  # the host has asked whether a frame is young
HAS_FORCED = 40  # a vCPU has had paging on and CR0.WP clear
HAD_TABLE = 26  # a poked frame had a shadow page
RECORDS_USED = 27  # of a part, by rows that were judged
# The operation itself
NOW_KIND = 28
NOW_VCPU = 29  # and whether user mode does it, above bit 8
NOW_A = 30
NOW_B = 31

# A walk of the guest's tables
LEAF_FOUND = 32
LEAF_CODE = 33  # the P and RSVD bits of the fault
LEAF_GRANTS = 34
LEAF_EXEC = 35
LEAF_DIRTY = 36
LEAF_ADDRESS = 37
LEAF_ENTRY = 38  # gpa of the entry at which it ended
LEAF_LEVEL = 39

# A dirty log that is about to be read: frames in it, -1: none is; and the number of its content
LOG_COUNT = 41
LOG_CONTENT = 42
WAS_YOUNG = 43  # a leaf of the frame that is about to be aged has A

# The stack of a walk of shadow tables, by level
AT = 48  # place of an entry
INDEX = 54
GVA = 60
TABLE = 66  # the guest's table; -1 - code of the fault: there is none
RIGHTS = 72  # of W and U what the guest's entries above grant
EXEC = 78
DIRTY = 84
LINEAR = 90  # address of the large guest page it is below, -1: none
LINKS = 96  # of W and U what the shadow's links above grant
# The stack of a search among old entries, from the top
SEEK_NODE = 102
SEEK_TABLE = 106
SEEK_SINCE = 110
SEEK_RIGHTS = 114
SEEK_EXEC = 118
SEEK_ENTRY = 122  # a value of an entry, and from when it may be used
SEEK_FROM = 123
SEEK_GLOBAL = 132  # only global leaves are looked for
# The host's stack, while the audit climbs with it
KEPT_SP = 124
KEPT_INDEX = 128

POKED = 136
POKED_MAX = 64

COUNTS = POKED + POKED_MAX  # of each check: different places at which it failed
COUNTS_MAX = 128

CPUS = COUNTS + COUNTS_MAX
CPU_FLUSHED = 0  # time of the latest flush of all but global translations
CPU_ALL_FLUSHED = 1  # time of the latest flush of everything
CPU_PAGES = 8  # INVLPG: pages and times
CPU_PAGES_MAX = 64
CPU_WORDS = CPU_PAGES + 2 * CPU_PAGES_MAX
STATE_WORDS = CPUS + MAX_VCPUS * CPU_WORDS

# --- found[] ----------------------------------------------------------------------------
FOUND_MAX = 2048
KEPT = 64  # findings of one check; all are counted
FOUND_WORDS = 16
CHECK = 0
TIME = 1
ROW_EVENT = 2
VCPU = 3  # -1: none
PLACE = 4  # an address, a frame, a page
IS = 5
SHOULD = 6
DETAIL = 7  # bits and numbers that tell.py knows
NO_MARKS = -1  # a DETAIL of U1: the variant has epochs instead of marks
WATCHES = 8  # up to three words of the host whose history is the cause: array << 48 | place
WATCH_COUNT = 3
OP_KIND = 12  # the operation after which it was found
OP_VCPU = 13
OP_A = 14
OP_B = 15

KEYS = 1 << 16

PAST_WORDS = 4
PAST_AT = 0  # gpa of the word
PAST_END = 1  # time at which another value replaced it
PAST_VALUE = 2
PAST_BEFORE = 3  # older node of the bucket
BEHIND = 1 << 62  # in PAST_END: the MMU was not told
HEADS = 1 << 14
PAST_FIRST = 1 << 14

# --- checks -------------------------------------------------------------------------------
S1, S2, S3, S4, S5, S6, S7, S8 = 1, 2, 3, 4, 5, 6, 7, 8
R1, R2, R3, R4, R5 = 11, 12, 13, 14, 15
W1, W2, W3, W4 = 21, 22, 23, 24
U1, U2, U3, U4, U5 = 31, 32, 33, 34, 35
T1, T2, T3, T4, T5, T6, T6B, T7, T8 = 41, 42, 43, 44, 45, 46, 47, 48, 49
H1, H2, H3, C1 = 51, 52, 53, 54
P1, P2, P3, P4 = 61, 62, 63, 64
D1, D2, D3 = 71, 72, 73

NAMES = {
    number: f"F-{name[0]}{name[1:].lower()}"
    for name, number in list(globals().items())
    if name[:1] in "SRWUTHCPD" and name[1:2].isdigit() and len(name) <= 3
}

# Arrays that a watch may name
WATCH_VM = 1
WATCH_PAGE = 2
WATCH_SPT = 3
WATCH_FRAME = 4
WATCH_GUEST = 5  # place is the gpa of a word
WATCH_USE = 6  # as WATCH_SPT, but A counts as a change
WATCH_LOG = 7  # place is a frame: bit 0 in its dirty log, bit 1 written, bit 2 logged
WATCH_SHIFT = 48

OFF = 0
SAMPLED = 1
FLUSH = 2
EVERY = 3


class Audit(NamedTuple):
    """What an audit remembers; see above."""

    state: Any
    found: Any
    keys: Any
    past: Any
    heads: Any
    frames: Any
    pages: Any


def create(level: int) -> Audit:
    """An audit of a host without vCPUs and memory."""
    sizes = (STATE_WORDS, FOUND_MAX * FOUND_WORDS, KEYS, PAST_FIRST, HEADS, 1, 1)
    audit = Audit(*map(zeros, sizes))
    audit.state[LEVEL] = level
    audit.state[CREDIT] = FIRST_CREDIT
    audit.state[PAST_NEXT] = PAST_WORDS
    return audit


#: Steps a sweep may take, and those that sweeps at level flush may take before any was earned.
SWEEP_STEPS = 1 << 26
FIRST_CREDIT = 1 << 22
#: Steps that each operation earns at level flush.
EARNED = 4


def reserve(audit: Audit, frame_words: int, page_words: int, ask: Ask) -> Audit:
    """The same audit with room for what one more operation can need."""
    if len(audit.past) - audit.state[PAST_NEXT] < 4 * PAST_WORDS:
        audit = audit._replace(past=longer(audit.past, 2 * len(audit.past), ask, "an audit"))
    if len(audit.frames) < frame_words:
        audit = audit._replace(frames=longer(audit.frames, frame_words, ask, "an audit"))
    if len(audit.pages) < page_words:
        audit = audit._replace(pages=longer(audit.pages, page_words, ask, "an audit"))
    return audit

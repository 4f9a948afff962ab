"""What traces can hold, drawn by hypothesis: any columns, and captures that keep the rules."""

from __future__ import annotations

import functools
import operator

import numpy as np
from hypothesis import strategies as st

from refault.trace import Block, EventKind, Flag, MemorySlot, TraceHeader

U64 = (1 << 64) - 1
RAM_PAGES = 64
CAPTURE = TraceHeader(
    content="capture",
    name="drawn",
    guest_mode="long",
    vcpu_count=2,
    slots=(MemorySlot(slot=0, base_gfn=0, page_count=RAM_PAGES),),
    capture_tool="hypothesis",
    capture_filter={"keeps": "all", "slots": 0},
    time_unit="instructions",
    workload_marks={"1": "begin"},
    notes=("one",),
)
OPERATIONS = TraceHeader("operations", "drawn", "long", 2, notes=("one", "two"))
# Addresses come from few pages, so that pages repeat as in a guest; some are any number.
PAGES = st.sampled_from([0, 0x1000, 0x2000, 0x7FFF_FFFF_F000, 0xFFFF_8880_0000_0000, U64 - 0xFFF])
ADDRESSES = st.one_of(
    st.builds(lambda page, offset: page + offset, PAGES, st.integers(0, 4095)),
    st.integers(0, U64),
)
INSNS = st.one_of(
    st.integers(0, 20), st.sampled_from([254, 255, 256, 65534, 65535, 65536, (1 << 32) - 1])
)
BYTES = st.one_of(st.integers(0, 4), st.integers(0, 255))


def block_of(rows) -> Block:
    """Rows of (kind, vcpu, flags, aux, insns, a, b), a and b unsigned, as a block."""
    columns = list(zip(*rows, strict=True))
    narrow = [np.array(column, np.uint8) for column in columns[:4]]
    wide = [np.array(column, np.uint64).view(np.int64) for column in columns[5:]]
    return Block(0, *narrow, np.array(columns[4], np.uint32), *wide)


def rows_of(block) -> list[tuple[int, ...]]:
    return [
        (*row[:5], row[5] & U64, row[6] & U64)
        for row in zip(*(column.tolist() for column in block[1:]), strict=True)
    ]


@st.composite
def any_rows(draw, max_size=120):
    """Columns of any content; the kinds are known, nothing else makes sense."""
    kinds = draw(st.lists(st.sampled_from(sorted(EventKind)), min_size=1, max_size=6, unique=True))
    row = st.tuples(
        st.sampled_from(kinds).map(int), BYTES, BYTES, BYTES, INSNS, ADDRESSES, ADDRESSES
    )
    return draw(st.lists(row, min_size=1, max_size=max_size))


@st.composite
def access(draw):
    flags = draw(st.sampled_from([0, Flag.WRITE, Flag.FETCH, Flag.USER, Flag.USER | Flag.WRITE]))
    gva = draw(ADDRESSES)
    if draw(st.booleans()):
        flags |= Flag.NOGPA
        gpa = U64
    else:
        gpa = draw(st.integers(0, RAM_PAGES - 1)) * 4096 + (gva & 4095)
    return [(int(EventKind.ACCESS), draw(st.integers(0, 1)), int(flags), 3, draw(INSNS), gva, gpa)]


@st.composite
def table_store(draw):
    size_log2 = draw(st.integers(0, 3))
    gpa = draw(st.integers(0, RAM_PAGES * 4096 - 1)) & -(1 << size_log2)
    value = draw(st.integers(0, (1 << (8 << size_log2)) - 1))
    aux = draw(st.integers(1, 4)) << 4 | size_log2
    return [(int(EventKind.TABLE_STORE), 0, 0, aux, draw(INSNS), gpa, value)]


@st.composite
def snapshot(draw):
    page = draw(st.integers(0, RAM_PAGES - 1)) * 4096
    indexes = sorted(draw(st.sets(st.integers(0, 511), max_size=12)))
    rows = [(int(EventKind.TABLE_SNAPSHOT), 1, 0, 2, draw(INSNS), page, len(indexes))]
    for index in indexes:
        entry = draw(st.integers(1, U64))
        rows.append((int(EventKind.TABLE_ENTRY), 1, 0, 0, 0, page + 8 * index, entry))
    return rows


@st.composite
def register_write(draw):
    kind, aux, a = draw(
        st.sampled_from(
            [
                (EventKind.CR, 3, 0x1000),
                (EventKind.CR, 4, 0x20),
                (EventKind.MSR, 0, 0xC0000080),
                (EventKind.INVLPG, 0, 0x7000),
                (EventKind.MARK, 0, 1),
            ]
        )
    )
    return [(int(kind), draw(st.integers(0, 1)), 0, aux, draw(INSNS), a, draw(ADDRESSES))]


@st.composite
def fault(draw):
    code = draw(st.integers(0, 31))
    flags = (code >> 1 & 1) * Flag.WRITE | (code >> 4 & 1) * Flag.FETCH | code & Flag.USER
    vcpu = draw(st.integers(0, 1))
    gva = draw(ADDRESSES)
    return [(int(EventKind.PAGE_FAULT), vcpu, int(flags), code, draw(INSNS), gva, code)]


@st.composite
def drop(draw):
    page = draw(st.integers(0, RAM_PAGES - 1)) * 4096
    level = draw(st.integers(1, 4))
    return [(int(EventKind.TABLE_DROP), 0, 0, draw(st.integers(0, 5)), draw(INSNS), page, level)]


def _joined(groups, *, min_size, max_size):
    return st.lists(groups, min_size=min_size, max_size=max_size).map(
        lambda lists: functools.reduce(operator.iadd, lists, [])
    )


def captures(max_size=40):
    """Rows of a capture that keeps every rule, of the kinds capture tools of today record."""
    groups = st.one_of(access(), table_store(), snapshot(), register_write(), fault(), drop())
    return _joined(groups, min_size=1, max_size=max_size)


@st.composite
def boot(draw):
    vcpu = draw(st.integers(0, 1))
    cr0, cr3, cr4, efer = draw(st.tuples(ADDRESSES, ADDRESSES, ADDRESSES, ADDRESSES))
    return [
        (int(EventKind.OP_BOOT_CR), vcpu, 0, 0, 0, cr0, cr3),
        (int(EventKind.OP_BOOT), vcpu, 0, 0, 0, cr4, efer),
    ]


@st.composite
def touch(draw):
    kind, size = draw(
        st.sampled_from(
            [
                (EventKind.OP_LD, 8),
                (EventKind.OP_EX, 8),
                (EventKind.OP_ST, 8),
                (EventKind.OP_ST4, 4),
                (EventKind.OP_ST2, 2),
                (EventKind.OP_ST1, 1),
                (EventKind.OP_POKE, 8),
            ]
        )
    )
    user = draw(st.sampled_from([0, int(Flag.USER)]))
    vcpu = draw(st.integers(0, 1))
    return [(int(kind), vcpu, user, 0, 0, draw(ADDRESSES) & -size, draw(ADDRESSES))]


@st.composite
def host_event(draw):
    kind = draw(st.sampled_from([EventKind.OP_UNMAP, EventKind.OP_AGE, EventKind.OP_NR_PAGES]))
    if draw(st.booleans()):
        first = draw(st.integers(0, (1 << 28) - 1))
        pages = draw(st.integers(1, min(1 << 24, (1 << 28) - first)))
        return [(int(EventKind.OP_UNMAP_RANGE), 0, 0, 0, 0, first, pages)]
    return [(int(kind), 0, 0, 0, 0, draw(ADDRESSES), 0)]


def operations(max_size=40):
    """Rows of operations that keep every rule."""
    machine = (int(EventKind.OP_VM), 0, 0, 0, 0, 2, 0)
    groups = st.one_of(boot(), touch(), host_event())
    return _joined(groups, min_size=0, max_size=max_size).map(lambda rows: [machine, *rows])

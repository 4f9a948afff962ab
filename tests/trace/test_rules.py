import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import TraceCorrupt
from refault.trace import Block, EventKind, MemorySlot, TraceHeader
from refault.trace.encoding import take_apart
from refault.trace.format import TAG_BLOCK, TAG_HEADER
from refault.trace.frames import frame, preamble
from refault.trace.header import pack_header
from refault.trace.rules import EventRules
from tests.trace.files import ACCESS_ROW, read_error, read_rows, trace_bytes
from tests.trace.strategies import CAPTURE, RAM_PAGES, U64, block_of, captures, rows_of

RAM_BYTES = RAM_PAGES * 4096
OPERATIONS = TraceHeader("operations", "made", "long", 2, notes=("one",))
K = EventKind
VM = (K.OP_VM, 0, 0, 0, 0, 2, 0)


def unchecked(rows, header, block_rows=7):
    """A trace with these rows, written without asking the rules."""
    parts = [preamble(), frame(TAG_HEADER, pack_header(header))]
    whole = block_of(rows)
    for start in range(0, len(rows), block_rows):
        part = whole.part(start, min(start + block_rows, len(rows)))
        parts.append(frame(TAG_BLOCK, take_apart(part).packed(1)))
    return b"".join(parts)


def verdict(rows, header=CAPTURE, block_rows=7):
    return read_error(unchecked(rows, header, block_rows), allow_truncated=True)


def row(kind, *, vcpu=0, flags=0, aux=0, insns=0, a=0, b=0):
    return (int(kind), vcpu, flags, aux, insns, a & U64, b & U64)


BROKEN_CAPTURES = {
    "a vCPU the header lacks": (row(K.ACCESS, vcpu=2), "the header has 2 vCPUs"),
    "an unknown flag": (row(K.ACCESS, flags=64), "unknown flag"),
    "a table just behind memory": (
        row(K.TABLE_STORE, aux=0x13, a=RAM_BYTES),
        "outside the guest's memory",
    ),
    "a table far outside": (row(K.TABLE_STORE, aux=0x13, a=1 << 63), "outside the guest's memory"),
    "a snapshot outside": (row(K.TABLE_SNAPSHOT, aux=1, a=RAM_BYTES), "outside the guest's memory"),
    "a drop outside": (row(K.TABLE_DROP, aux=1, a=-4096, b=1), "outside the guest's memory"),
    "a store of 16 bytes": (row(K.TABLE_STORE, aux=0x14), "its size or level is not valid"),
    "a store to level 0": (row(K.TABLE_STORE, aux=0x03), "its size or level is not valid"),
    "a store to level 5": (row(K.TABLE_STORE, aux=0x53), "its size or level is not valid"),
    "a store across words": (row(K.TABLE_STORE, aux=0x13, a=4), "does not fit its size"),
    "a store across halves": (row(K.TABLE_STORE, aux=0x12, a=2), "does not fit its size"),
    "a byte with a wide value": (row(K.TABLE_STORE, aux=0x10, a=3, b=256), "does not fit its size"),
    "four bytes, negative": (row(K.TABLE_STORE, aux=0x12, a=4, b=-1), "does not fit its size"),
    "control register 2": (row(K.CR, aux=2), "control registers 0, 3 and 4"),
    "another MSR": (row(K.MSR, a=0xC0000081), "only EFER"),
    "a fault's aux": (row(K.PAGE_FAULT, aux=7, b=6, flags=5), "not the low byte"),
    "a fault's flags": (row(K.PAGE_FAULT, aux=6, b=6, flags=4), "flags contradict"),
    "a snapshot inside a page": (row(K.TABLE_SNAPSHOT, aux=1, a=8), "not that of a page"),
    "a snapshot of level 0": (row(K.TABLE_SNAPSHOT, a=0), "levels 1 to 4"),
    "a snapshot of 513": (row(K.TABLE_SNAPSHOT, aux=1, b=513), "at most 512 entries"),
    "a snapshot of -1": (row(K.TABLE_SNAPSHOT, aux=1, b=-1), "at most 512 entries"),
    "a drop of level 9": (row(K.TABLE_DROP, aux=1, b=9), "levels 1 to 4"),
    "an invpcid of type 4": (row(K.INVPCID, aux=4), "types are 0 to 3"),
    "an entry without snapshot": (row(K.TABLE_ENTRY, a=8, b=1), "a snapshot is followed by all"),
    "a slot beyond all": (row(K.OP_DIRTYLOG, aux=36), "slots are numbered 0 to 35"),
    "an operation of a vCPU": (row(K.OP_LD, a=8), "cannot have"),
}


@pytest.mark.parametrize("name", BROKEN_CAPTURES)
def test_an_event_of_a_capture_that_breaks_a_rule_is_named(name):
    bad, message = BROKEN_CAPTURES[name]
    error = verdict([ACCESS_ROW] * 10 + [bad] + [ACCESS_ROW] * 5)

    assert isinstance(error, TraceCorrupt)
    assert message in str(error)
    assert error.offset > 16
    if "cannot have" not in message:
        assert f"event 10 ({EventKind(bad[0]).name}, " in str(error)


BROKEN_OPERATIONS = {
    "another number of vCPUs": (row(K.OP_VM, a=3), "not the header's"),
    "a second machine": (VM, "OP_VM occurs once only"),
    "a note that is not there": (row(K.OP_NOTE, a=1), "no such note"),
    "a slot beyond all": (row(K.OP_MEM, aux=36, flags=1, b=1), "slots are numbered 0 to 35"),
    "memory of host level 0": (row(K.OP_MEM, b=1), "host levels are 1 to 3"),
    "memory of no pages": (row(K.OP_MEM, flags=1), "memory ends at frame"),
    "memory beyond all": (row(K.OP_MEM, flags=1, a=1 << 28, b=1), "memory ends at frame 268435456"),
    "more memory than a host has": (
        row(K.OP_MEM, flags=1, b=(1 << 24) + 1),
        "a guest has at most 16777216 pages",
    ),
    "memory that wraps": (
        row(K.OP_MEM, flags=1, a=1 << 62, b=(1 << 63) - 1),
        "memory ends at frame",
    ),
    "a poke across words": (row(K.OP_POKE, a=4), "not a multiple of 8"),
    "a store across words": (row(K.OP_ST, a=4), "not a multiple of 8"),
    "a half store astray": (row(K.OP_ST4, a=2), "not a multiple of 4"),
    "a quarter store astray": (row(K.OP_ST2, a=1), "not a multiple of 2"),
    "a load astray": (row(K.OP_LD, a=1), "not a multiple of 8"),
    "a log of a slot beyond all": (row(K.OP_LOG_OFF, aux=36), "slots are numbered 0 to 35"),
    "a log read beyond all": (row(K.OP_GET_DIRTY_LOG, aux=36), "slots are numbered 0 to 35"),
    "a range of nothing": (row(K.OP_UNMAP_RANGE), "a range has 1 to 16777216 frames"),
    "a range beyond all": (row(K.OP_UNMAP_RANGE, a=1 << 28, b=1), "memory ends at frame 268435456"),
    "a range that wraps": (row(K.OP_UNMAP_RANGE, a=1 << 62, b=(1 << 63) - 1), "a range has"),
    "half of set registers": (row(K.OP_SREGS), "OP_SREGS directly follows"),
    "half a boot": (row(K.OP_BOOT), "OP_BOOT directly follows"),
    "a changed entry of 2": (row(K.OP_CHANGE_PTE, b=2), "writable (1) or not (0)"),
    "an event of a capture": (row(K.ACCESS), "cannot have"),
}


@pytest.mark.parametrize("name", BROKEN_OPERATIONS)
def test_an_operation_that_breaks_a_rule_is_named(name):
    bad, message = BROKEN_OPERATIONS[name]
    rows = [VM] + [row(K.OP_LD, a=8)] * 9 + [bad] + [row(K.OP_LD, a=8)] * 5
    error = verdict([tuple(map(int, each)) for each in rows], OPERATIONS)

    assert isinstance(error, TraceCorrupt)
    assert message in str(error)
    if "cannot have" not in message:
        assert f"event 10 ({EventKind(bad[0]).name}, " in str(error)


def test_bypass_is_zero_or_one():
    assert "bypass is 0 or 1" in str(verdict([row(K.OP_VM, a=2, b=2)], OPERATIONS))


def test_operations_begin_with_their_machine():
    assert "event 0" in str(error := verdict([row(K.OP_LD), VM], OPERATIONS))
    assert "begins with OP_VM" in str(error)


def test_host_events_may_stand_in_a_capture():
    rows = [ACCESS_ROW, row(K.OP_UNMAP, a=3), row(K.OP_NR_PAGES, a=64), row(K.OP_DIRTYLOG, aux=0)]
    assert read_rows(trace_bytes(rows)) == rows


def test_memory_in_several_slots_is_memory():
    slots = (MemorySlot(3, 0, 1), MemorySlot(1, 1 << 20, 2))
    header = dataclasses.replace(CAPTURE, slots=slots)
    inside = [row(K.TABLE_STORE, aux=0x13, a=a) for a in (0xFF8, 1 << 32, (1 << 32) + 0x1FF8)]
    assert verdict(inside, header) is None
    for a in (0x1000, (1 << 32) - 8, (1 << 32) + 0x2000):
        assert "outside" in str(verdict([row(K.TABLE_STORE, aux=0x13, a=a)], header))


def snapshot(page, *indexes, count=None):
    count = len(indexes) if count is None else count
    head = row(K.TABLE_SNAPSHOT, aux=1, a=page, b=count)
    return [head, *(row(K.TABLE_ENTRY, a=page + 8 * index, b=1) for index in indexes)]


BROKEN_SNAPSHOTS = {
    "too few": [*snapshot(0x1000, 1, 2, count=3), ACCESS_ROW],
    "too many": snapshot(0x1000, 1, 2, count=1),
    "interrupted": [*snapshot(0x1000, 1, count=2), ACCESS_ROW, row(K.TABLE_ENTRY, a=0x1010)],
    "another page": [*snapshot(0x1000, 1, count=2), row(K.TABLE_ENTRY, a=0x2010, b=1)],
    "descending": snapshot(0x1000, 2, 1),
    "twice the same": snapshot(0x1000, 1, 1),
    "a snapshot inside one": [*snapshot(0x1000, 1, count=3), *snapshot(0x2000, 1)],
    "entries that take time": [
        *snapshot(0x1000, 1, count=2),
        row(K.TABLE_ENTRY, a=0x1010, b=1, insns=4),
    ],
    "entries off their words": [*snapshot(0x1000, 1, count=2), row(K.TABLE_ENTRY, a=0x1011, b=1)],
}


@pytest.mark.parametrize("block_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("name", BROKEN_SNAPSHOTS)
def test_a_broken_snapshot_is_refused_wherever_blocks_end(name, block_rows):
    rows = [ACCESS_ROW, *snapshot(0x3000), *snapshot(0x1000, 0, 511), *BROKEN_SNAPSHOTS[name]]
    error = verdict(rows, block_rows=block_rows)

    assert isinstance(error, TraceCorrupt)
    assert "event " in str(error)


def test_a_trace_that_ends_inside_a_snapshot_is_refused_when_closed():
    with pytest.raises(TraceCorrupt, match="2 entries before the end of a table snapshot"):
        trace_bytes(snapshot(0x1000, 1, count=3))
    assert verdict(snapshot(0x1000, 1, count=3)) is None  # truncated there, it is readable


@pytest.mark.parametrize("block_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("name", ["OP_BOOT", "OP_SREGS"])
def test_registers_are_two_events_of_one_vcpu_side_by_side(name, block_rows):
    kind, half = K[name], K[f"{name}_CR"]
    first, second = row(half, vcpu=1, a=0x10), row(kind, vcpu=1, a=0)
    load = row(K.OP_LD)
    vm = tuple(map(int, VM))
    sound = [vm, first, second, load, first, second, first, second]
    assert verdict(sound, OPERATIONS, block_rows) is None
    for broken in (
        [vm, first, load, second],
        [vm, second],
        [vm, first, first, second],
        [vm, first, second, second],
        [vm, first, row(kind, vcpu=0)],
        [vm, first, load],
    ):
        error = verdict(broken, OPERATIONS, block_rows)
        assert f"{name} directly follows {name}_CR" in str(error), broken
    with pytest.raises(TraceCorrupt, match=f"ends between {name}_CR and {name}"):
        trace_bytes([vm, first], OPERATIONS)


@given(captures(max_size=12), st.integers(1, 20), st.data())
def test_a_rule_broken_anywhere_is_found_at_its_event(rows, block_rows, data):
    place = data.draw(st.integers(0, len(rows)))
    if place < len(rows) and rows[place][0] == K.TABLE_ENTRY:
        return
    bad = row(K.TABLE_STORE, aux=0x13, a=RAM_BYTES + 8)
    error = verdict([*rows[:place], bad, *rows[place:]], block_rows=block_rows)

    assert f"event {place} (TABLE_STORE, vCPU 0, aux 19, a {bad[5]:#x}, b 0x0)" in str(error)


@given(captures(max_size=20), st.integers(1, 20))
def test_a_sound_capture_is_sound_wherever_its_blocks_end(rows, block_rows):
    assert verdict(rows, block_rows=block_rows) is None


def test_rows_survive_their_own_helpers():
    assert rows_of(block_of([ACCESS_ROW])) == [ACCESS_ROW]
    assert isinstance(block_of([ACCESS_ROW]), Block)


#: CR0, CR3, CR4, EFER that a processor can have together, and one change of each that it cannot.
LONG = (0x80010033, 0x1000, 0x20, 0xD00)
PLAIN = (0x10, 0, 0, 0)
IMPOSSIBLE = [
    (0x80010023, 0x1000, 0x20, 0xD00),  # CR0.ET is always set
    (0x80010032, 0x1000, 0x20, 0xD00),  # PG without PE
    (0xA0010033, 0x1000, 0x20, 0xD00),  # NW without CD
    (0x180010033, 0x1000, 0x20, 0xD00),
    (0x80010033, 1 << 40, 0x20, 0xD00),
    (0x80010033, 0x1000, 0, 0xD00),  # long mode without PAE
    (0x80010033, 0x1000, 0x20, 0x100),  # LME and PG without LMA
    (0x80010033, 0x1000, 0x20, 0x400),  # LMA without LME
    (0x10, 0, 0, 0x500),  # LMA without PG
    (0x10, 1 << 32, 0, 0),
    (0x10, 0, 0x2000, 0),  # VMXE
    (0x10, 0, 0, 2),
]


def set_registers(values, vcpu=0):
    cr0, cr3, cr4, efer = values
    return [row(K.OP_SREGS_CR, vcpu=vcpu, a=cr0, b=cr3), row(K.OP_SREGS, vcpu=vcpu, a=cr4, b=efer)]


@pytest.mark.parametrize("block_rows", [1, 2, 3, 100])
def test_registers_set_from_outside_can_stand_together(block_rows):
    vm = tuple(map(int, VM))
    sound = [each for values in (LONG, PLAIN, LONG) for each in set_registers(values)]
    assert verdict([vm, *sound], OPERATIONS, block_rows) is None
    for values in IMPOSSIBLE:
        error = verdict([vm, *sound, *set_registers(values, vcpu=1)], OPERATIONS, block_rows)
        assert "its registers cannot stand together" in str(error), values
        assert "event 8 (OP_SREGS, vCPU 1" in str(error)


def test_the_first_half_of_registers_may_lie_before_what_is_read():
    rules = EventRules(OPERATIONS)
    rules.begin_amid()
    rows = [row(K.OP_SREGS, a=0x20, b=0xD00), *set_registers(PLAIN)]
    block = block_of(rows)._replace(first_event_index=5)
    rules.begin_block({int(each[0]) for each in rows}, 0)
    rules.check(block, {kind: np.flatnonzero(block.kind == kind) for kind in set(block.kind)})
    rules.finish(offset=0)


def test_a_range_and_a_log_may_stand_in_a_capture_and_registers_may_not():
    rows = [
        ACCESS_ROW,
        row(K.OP_UNMAP_RANGE, a=3, b=9),
        row(K.OP_LOG_OFF),
        row(K.OP_GET_DIRTY_LOG, aux=35),
    ]
    assert read_rows(trace_bytes(rows)) == rows
    assert "cannot have" in str(verdict([ACCESS_ROW, *set_registers(LONG)]))

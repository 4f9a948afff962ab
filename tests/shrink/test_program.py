"""Parts of a program: whatever is left out, the rest is a trace that a reader takes."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from refault.shrink.program import Program, block_of, digest_of, joined
from refault.trace import TraceReader
from refault.trace.contents import MemorySlot, TraceHeader
from refault.trace.format import EventKind as K
from refault.trace.writer import TraceWriter

CAPTURE = TraceHeader("capture", "guest", "long", 1, slots=(MemorySlot(0, 0, 64),))
OPERATIONS = TraceHeader("operations", "guest", "long", 2)
SNAPSHOTS = [
    (K.TABLE_SNAPSHOT, 0, 32, 4, 0x1000, 2),
    (K.TABLE_ENTRY, 0, 32, 0, 0x1000, 0x2067),
    (K.TABLE_ENTRY, 0, 32, 0, 0x1FF8, 0x3067),
    (K.TABLE_SNAPSHOT, 0, 32, 1, 0x2000, 0),
    (K.CR, 0, 32, 3, 0x1000, 0),
    (K.ACCESS, 0, 0, 3, 0x7000, 0x5000),
    (K.TABLE_SNAPSHOT, 0, 0, 1, 0x3000, 1),
    (K.TABLE_ENTRY, 0, 0, 0, 0x3010, 0x4067),
    (K.TABLE_DROP, 0, 0, 0, 0x3000, 1),
]
BOOTS = [
    (K.OP_VM, 0, 0, 0, 2, 0),
    (K.OP_MEM, 0, 1, 0, 0, 64),
    (K.OP_BOOT_CR, 0, 0, 0, 0x80000011, 0x1000),
    (K.OP_BOOT, 0, 0, 0, 0x20, 0x500),
    (K.OP_BOOT_CR, 1, 0, 0, 0x80000011, 0x1000),
    (K.OP_BOOT, 1, 0, 0, 0x20, 0x500),
    (K.OP_SREGS_CR, 1, 0, 0, 0x80000011, 0x2000),
    (K.OP_SREGS, 1, 0, 0, 0x20, 0x500),
]


def read(header, block):
    """What a reader makes of the events."""
    file = io.BytesIO()
    with TraceWriter(file, header, level=1) as writer:
        writer.append_block(block)
    file.seek(0)
    with TraceReader(file) as reader:
        return joined(list(reader.blocks()))


@settings(deadline=None)
@given(st.sampled_from([(CAPTURE, SNAPSHOTS), (OPERATIONS, BOOTS)]), st.integers(0, 511))
def test_any_part_of_a_program_is_a_trace(program, bits):
    header, rows = program
    whole = Program(header, block_of(rows))
    mask = np.array([bits >> place & 1 for place in range(len(rows))], np.bool_)
    kept = whole.lawful(mask)
    part = whole.taken(kept)
    if part.event_count:
        assert digest_of(read(header, part)) == digest_of(part)
    # What was to go is gone, apart from what must be there.
    assert not (kept & ~mask & (whole.block.kind != K.OP_VM)).any()


def test_a_snapshot_counts_the_entries_that_are_left():
    whole = Program(CAPTURE, block_of(SNAPSHOTS))
    mask = whole.everything()
    mask[1] = False
    part = whole.taken(whole.lawful(mask))
    assert part.b[part.kind == K.TABLE_SNAPSHOT].tolist() == [1, 0, 1]


def test_entries_go_with_their_snapshot():
    whole = Program(CAPTURE, block_of(SNAPSHOTS))
    mask = whole.everything()
    mask[0] = False
    assert whole.taken(whole.lawful(mask)).kind.tolist() == [row[0] for row in SNAPSHOTS[3:]]


def test_equal_events_have_equal_digests_and_others_not():
    whole = Program(CAPTURE, block_of(SNAPSHOTS))
    again = whole.compact(whole.everything())
    assert digest_of(again.block) == digest_of(whole.block)
    assert digest_of(block_of(SNAPSHOTS[1:])) != digest_of(whole.block)

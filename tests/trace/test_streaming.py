import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refault.trace import Block, TraceReader, TraceValidator, TraceWriter, trace_digest
from refault.trace.contents import join_blocks
from refault.trace.encoding import WHOLE_BLOCK_DESCRIPTORS
from refault.trace.format import TAG_BLOCK
from refault.trace.frames import FrameParser
from refault.trace.unpacking import SLICE_EVENTS
from tests.trace.files import BOOT
from tests.trace.strategies import CAPTURE

MIB = 1 << 20
BLOCK_EVENTS = 1 << 17
PART_EVENTS = 1 << 14
PART_COUNT = 160  # twenty blocks


def part(number):
    """Sixteen thousand accesses that do not compress to nothing."""
    random = np.random.default_rng(number)
    page = random.integers(0, 64, PART_EVENTS)
    offset = random.integers(0, 512, PART_EVENTS) * 8
    return Block(
        0,
        kind=np.ones(PART_EVENTS, np.uint8),
        vcpu=np.zeros(PART_EVENTS, np.uint8),
        flags=np.zeros(PART_EVENTS, np.uint8),
        aux=np.full(PART_EVENTS, 3, np.uint8),
        insns=random.integers(0, 400, PART_EVENTS).astype(np.uint32),
        a=(page << 12) + offset,
        b=(page << 12) + offset,
    )


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_a_trace(tmp_path):
    def write(part_count):
        path = tmp_path / f"{part_count}.rft"
        with TraceWriter(path, CAPTURE, level=1, block_events=BLOCK_EVENTS) as writer:
            for number in range(part_count):
                writer.append_block(part(number))
        return path

    def read(part_count):
        with TraceReader(tmp_path / f"{part_count}.rft") as reader:
            assert sum(len(block.kind) for block in reader.blocks()) == part_count * PART_EVENTS

    def validate(part_count):
        validator = TraceValidator()
        with (tmp_path / f"{part_count}.rft").open("rb") as file:
            while data := file.read(1 << 16):
                validator.feed(data)
        assert validator.close().event_count == part_count * PART_EVENTS

    for action in (write, read, validate):
        short = peak_of(lambda run=action: run(PART_COUNT // 5))
        long = peak_of(lambda run=action: run(PART_COUNT))
        assert long < short + MIB, action.__name__
        assert long < 40 * MIB, action.__name__


def test_a_real_trace_is_read_in_a_few_times_its_packed_size():
    def read():
        with TraceReader(BOOT) as reader:
            for block in reader.blocks():
                assert block.event_count <= SLICE_EVENTS

    assert peak_of(read) < 50 * MIB


def noise(event_count):
    """Accesses to pages of which none comes twice."""
    random = np.random.default_rng(1)
    zeros = np.zeros(event_count, np.uint8)
    gva = random.integers(0, 1 << 46, event_count)
    gpa = (random.integers(0, 64, event_count) << 12) | (gva & 4095)
    return Block(0, zeros + 1, zeros, zeros, zeros, zeros.astype(np.uint32), gva, gpa)


def test_what_can_be_read_back_is_not_held_while_it_comes(tmp_path):
    path = tmp_path / "noise.rft"
    with TraceWriter(path, CAPTURE, level=1) as writer:
        writer.append_block(noise(WHOLE_BLOCK_DESCRIPTORS))
    data = path.read_bytes()
    cut = len(data) - 100_000  # before the block is whole
    assert cut > 3 * MIB

    def feed(validator):
        for start in range(0, cut, 1 << 16):
            validator.feed(data[start : min(cut, start + (1 << 16))])

    assert peak_of(lambda: feed(TraceValidator())) > 3 * MIB
    with ThreadPoolExecutor(1) as decoding:
        stored = TraceValidator(lambda start, size: data[start : start + size], decoding)
        assert peak_of(lambda: feed(stored)) < MIB
        stored.feed(data[cut:])
        assert stored.close().digest == trace_digest(path)


def test_a_block_in_which_little_repeats_is_written_as_several(tmp_path):
    path = tmp_path / "noise.rft"
    with TraceWriter(path, CAPTURE, level=1) as writer:
        writer.append_block(noise(2 * WHOLE_BLOCK_DESCRIPTORS + 1))
    blocks = [each for each in FrameParser().feed(path.read_bytes()) if each.tag == TAG_BLOCK]
    assert len(blocks) == 3  # the odd event makes one half too large
    with TraceReader(path) as reader:
        read = join_blocks([block.copied() for block in reader.blocks()])
    assert (read.a == noise(2 * WHOLE_BLOCK_DESCRIPTORS + 1).a).all()


def test_arrays_that_are_given_are_written_as_copies_would_be():
    blocks = [part(number) for number in range(3)]
    written = []
    for is_given in (False, True):
        file = io.BytesIO()
        with TraceWriter(file, CAPTURE, level=1, packers=2) as writer:
            for block in blocks:
                writer.append_block(block, is_given=is_given)
                wide = Block(0, *(column.astype(np.int64) for column in block[1:]))
                writer.append_block(wide, is_given=is_given)  # of other types, so copied
        written.append(file.getvalue())
    assert written[0] == written[1]

"""A reader that begins amid a trace: the same blocks, the same summary, less decoding."""

import io

import pytest

from refault.errors import TraceCorrupt
from refault.trace import EventKind, TraceReader, TraceWriter
from refault.trace import decoder as decoding
from tests.engines.traffic import random_guest

BLOCK_EVENTS = 19


@pytest.fixture(scope="module")
def whole():
    """A trace of some dozen blocks, as bytes."""
    guest = random_guest(9)
    file = io.BytesIO()
    with TraceWriter(file, guest.header(), level=1, block_events=BLOCK_EVENTS) as writer:
        writer.append_block(guest.block())
    return file.getvalue()


def read(data, first_event=0):
    with TraceReader(io.BytesIO(data)) as reader:
        blocks = list(reader.blocks(first_event))
        return blocks, reader.summary


def test_blocks_come_from_that_of_the_event_on_and_the_summary_is_that_of_all(whole):
    everything, summary = read(whole)
    assert len(everything) > 10
    for first_event in range(1, summary.event_count, 7):
        blocks, found = read(whole, first_event)
        assert found == summary
        assert blocks[0].first_event_index == first_event // BLOCK_EVENTS * BLOCK_EVENTS
        rest = everything[-len(blocks) :]
        for block, wanted in zip(blocks, rest, strict=True):
            assert block.first_event_index == wanted.first_event_index
            columns = zip(block[1:], wanted[1:], strict=True)
            assert all((mine == theirs).all() for mine, theirs in columns)


def test_what_lies_before_is_not_decoded(whole, monkeypatch):
    seen = []
    unpack = decoding.read_block

    def note(body, first_event_index, **given):
        seen.append(first_event_index)
        return unpack(body, first_event_index, **given)

    monkeypatch.setattr(decoding, "read_block", note)
    _, summary = read(whole, 100)
    # The first chunk of a file is read for its header, and its first block comes along.
    assert seen[0] == 0
    assert seen[1:] == list(range(95, summary.event_count, BLOCK_EVENTS))


def test_a_flipped_bit_before_the_block_is_found_at_the_end(whole):
    everything, _ = read(whole)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    last = everything[-1].first_event_index
    with pytest.raises(TraceCorrupt):
        read(bytes(damaged), last)


def test_a_table_snapshot_that_goes_on_in_the_block_is_no_fault():
    file = io.BytesIO()
    guest = random_guest(9)
    header = guest.header()
    assert header.content in ("capture", "operations")
    with TraceWriter(file, header, level=1, block_events=3) as writer:
        writer.append_block(guest.block())
    data = file.getvalue()
    everything, summary = read(data)
    kinds = {int(kind) for block in everything for kind in block.kind}
    assert kinds & {EventKind.OP_BOOT, EventKind.TABLE_ENTRY}
    for first_event in range(1, summary.event_count, 3):
        assert read(data, first_event)[1] == summary


def test_an_index_that_lies_about_where_blocks_begin_is_found(whole):
    """The file without its index is read from the beginning, as ever."""
    with TraceReader(io.BytesIO(whole[:-40]), allow_truncated=True) as reader:
        first = next(iter(reader.blocks(100)))
    assert first.first_event_index == 0

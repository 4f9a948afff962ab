import dataclasses
import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refault.errors import TraceCorrupt, TraceError
from refault.trace import Block, TraceHeader, TraceReader, TraceWriter, trace_digest
from refault.trace.encoding import take_apart
from refault.trace.format import CAPTURE_KINDS, OPERATION_KINDS
from refault.trace.packed import Rooms, read_block
from refault.trace.unpacking import SLICE_EVENTS, BlockUnpacker
from tests.trace.files import (
    EVERY_CAPTURE_KIND,
    EVERY_OPERATION_KIND,
    SAMPLE_ROWS,
    read_rows,
    trace_bytes,
    validate,
)
from tests.trace.strategies import (
    CAPTURE,
    OPERATIONS,
    any_rows,
    block_of,
    captures,
    operations,
    rows_of,
)


def unpacked(body, first_event_index=0):
    packed = read_block(body, first_event_index, offset=0)
    return [block for block, _ in BlockUnpacker(packed).slices()]


@given(any_rows())
def test_any_columns_of_known_kinds_come_back_bit_by_bit(rows):
    blocks = unpacked(take_apart(block_of(rows)).packed(1))

    assert [row for block in blocks for row in rows_of(block)] == rows


@given(st.lists(any_rows(), min_size=2, max_size=4))
def test_events_stay_what_they_are_when_their_room_is_used_again(drawn):
    rooms = Rooms()
    bodies = [take_apart(block_of(rows)).packed(1) for rows in drawn]
    one_by_one = [
        [block for block, _ in BlockUnpacker(read_block(body, 0, offset=0), rooms).slices()]
        for body in bodies
    ]
    at_once = [BlockUnpacker(read_block(body, 0, offset=0), rooms).slices() for body in bodies]
    # All of them are open before the first hands out anything.
    alternating = [[block for block, _ in slices] for slices in at_once]

    for blocks in (one_by_one, alternating):
        assert [[row for block in each for row in rows_of(block)] for each in blocks] == drawn


def test_every_kind_of_event_comes_back():
    for header, rows, kinds in (
        (CAPTURE, EVERY_CAPTURE_KIND, CAPTURE_KINDS),
        (OPERATIONS, EVERY_OPERATION_KIND, OPERATION_KINDS),
    ):
        assert {row[0] for row in rows} == kinds
        for block_events in (1, 5, 1000):
            data = trace_bytes(rows, header, block_events=block_events)
            assert read_rows(data) == rows
            assert validate(data, 77).event_count == len(rows)


@given(operations(), st.integers(1, 50))
def test_operations_come_back_whatever_the_size_of_their_blocks(rows, block_events):
    data = trace_bytes(rows, OPERATIONS, level=1, block_events=block_events)

    assert read_rows(data) == rows


@given(captures(), st.integers(1, 50))
def test_a_capture_comes_back_whatever_the_size_of_its_blocks(rows, block_events):
    data = trace_bytes(rows, level=1, block_events=block_events)

    assert read_rows(data) == rows


@given(captures(), st.lists(st.integers(0, 30), max_size=8))
def test_the_bytes_do_not_depend_on_how_events_were_handed_over(rows, cuts):
    whole = block_of(rows)
    file = io.BytesIO()
    with TraceWriter(file, CAPTURE, level=1, block_events=25) as writer:
        start = 0
        for cut in cuts:
            writer.append_block(whole.part(start, start + cut))
            start += cut
        writer.append_block(whole.part(start, whole.event_count))

    assert file.getvalue() == trace_bytes(rows, level=1, block_events=25)


def test_where_each_kind_stands_is_told_with_the_events():
    body = take_apart(block_of(SAMPLE_ROWS)).packed(1)
    ((block, places),) = BlockUnpacker(read_block(body, 0, offset=0)).slices()

    assert set(places) == {1, 2, 3, 4, 6, 7, 8, 9, 10}
    for kind, events in places.items():
        assert events.tolist() == np.flatnonzero(block.kind == kind).tolist()


def test_more_events_than_leave_at_a_time_come_back():
    count = SLICE_EVENTS + 5000
    number = np.arange(count)
    page = number % 10_000
    is_store = number % 7 == 0
    block = Block(
        0,
        kind=np.where(is_store, 2, 1).astype(np.uint8),
        vcpu=(number % 3 == 0).astype(np.uint8),
        flags=np.zeros(count, np.uint8),
        aux=np.where(is_store, 0x13, 3).astype(np.uint8),
        insns=(number * 977 % 70_001).astype(np.uint32),
        a=page << 12 | number % 512 * 8,
        b=np.where(is_store, number * 0x1234_5678_9ABC, (page * 5 << 12) + number % 512 * 8),
    )
    body = take_apart(block).packed(1)
    blocks = unpacked(body)

    assert read_block(body, 0, offset=0).types["token"].itemsize == 2
    assert [each.first_event_index for each in blocks] == [0, SLICE_EVENTS]
    for name in ("kind", "vcpu", "flags", "aux", "insns", "a", "b"):
        joined = np.concatenate([getattr(each, name) for each in blocks])
        assert np.array_equal(joined, getattr(block, name)), name


def test_a_block_of_very_many_pages_uses_wider_numbers_for_them():
    count = 70_000
    number = np.arange(count)
    ones = np.ones(count, np.uint8)
    block = Block(0, ones, ones, ones, ones, number.astype(np.uint32), number << 12, number << 12)
    body = take_apart(block).packed(1)

    assert read_block(body, 0, offset=0).types["token"].itemsize == 4
    assert np.array_equal(np.concatenate([each.a for each in unpacked(body)]), block.a)


def test_columns_are_contiguous_writable_and_of_the_promised_types():
    (block,) = unpacked(take_apart(block_of(SAMPLE_ROWS)).packed(1))
    types = {"kind": "u1", "vcpu": "u1", "flags": "u1", "aux": "u1", "insns": "u4", "a": "i8"}
    for name, code in (*types.items(), ("b", "i8")):
        column = getattr(block, name)
        assert column.dtype == np.dtype(code)
        assert column.flags.c_contiguous
        assert column.flags.writeable


def test_the_header_comes_back():
    header = dataclasses.replace(
        CAPTURE, notes=("a", "ü"), guest={"kernel": "6.1"}, capture_filter={"slots": 1 << 40}
    )
    with TraceReader(io.BytesIO(trace_bytes(header=header))) as reader:
        assert reader.header == header


def test_reader_writer_and_validator_agree_on_the_summary(tmp_path):
    path = tmp_path / "t.rft"
    with TraceWriter(path, CAPTURE, level=1) as writer:
        writer.append_block(block_of(SAMPLE_ROWS))
        written = writer.close({"records": 7})
    with TraceReader(path) as reader:
        assert sum(block.event_count for block in reader.blocks()) == len(SAMPLE_ROWS)

    assert reader.summary == written == validate(path.read_bytes(), 100)
    assert written.digest == hashlib.sha256(path.read_bytes()).hexdigest() == trace_digest(path)
    assert written.size_bytes == path.stat().st_size
    assert written.event_count == len(SAMPLE_ROWS)
    assert written.instruction_count == sum(row[4] for row in SAMPLE_ROWS)
    assert written.events_by_kind == {
        "ACCESS": 42,
        "TABLE_STORE": 1,
        "CR": 1,
        "MSR": 1,
        "PAGE_FAULT": 1,
        "TABLE_SNAPSHOT": 1,
        "TABLE_ENTRY": 2,
        "TABLE_DROP": 1,
        "MARK": 1,
    }
    assert written.recorded == {"records": 7}
    assert not written.truncated


def test_unsigned_and_signed_values_keep_their_bits():
    file = io.BytesIO()
    with TraceWriter(file, CAPTURE, level=1) as writer:
        writer.append(kind=[10, 10], a=np.array([1, (1 << 64) - 1], np.uint64), b=-2)

    assert [row[5:] for row in read_rows(file.getvalue())] == [
        (1, (1 << 64) - 2),
        ((1 << 64) - 1, (1 << 64) - 2),
    ]


def test_a_trace_without_events_is_a_trace():
    file = io.BytesIO()
    with TraceWriter(file, CAPTURE):
        pass

    assert read_rows(file.getvalue()) == []
    assert validate(file.getvalue()).event_count == 0


def test_a_written_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "t.rft"
    with TraceWriter(path, CAPTURE, level=1) as writer:
        writer.append_block(block_of(SAMPLE_ROWS))
        assert not path.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["t.rft"]


def test_a_writer_left_by_an_exception_leaves_nothing(tmp_path):
    def interrupted():
        with TraceWriter(tmp_path / "t.rft", CAPTURE, level=1, block_events=9) as writer:
            writer.append_block(block_of(SAMPLE_ROWS))
            assert (tmp_path / "t.rft.partial").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_writer_refuses_what_no_reader_takes(tmp_path):
    with (
        pytest.raises(TraceCorrupt, match=r"event 0 .*the header has 2 vCPUs"),
        TraceWriter(tmp_path / "t.rft", CAPTURE) as writer,
    ):
        writer.append(kind=10, vcpu=2)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"missing/t\.rft\.partial cannot be written"):
        TraceWriter(tmp_path / "missing" / "t.rft", CAPTURE)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"none\.rft cannot be opened: No such file"):
        TraceReader(tmp_path / "none.rft")


def test_a_reader_left_early_closes_its_file(tmp_path):
    path = tmp_path / "t.rft"
    path.write_bytes(trace_bytes(block_events=3, rows=[(10, 0, 0, 0, 0, 1, 1)] * 40))
    with TraceReader(path) as reader:
        next(reader.blocks())
        with pytest.raises(TraceError, match="not read to its end"):
            _ = reader.summary
    with pytest.raises(ValueError, match="closed file"):
        reader._file.read(1)


def test_a_trace_is_read_in_one_pass():
    with TraceReader(io.BytesIO(trace_bytes())) as reader:
        list(reader.blocks())
        with pytest.raises(TraceError, match="open it again"):
            next(reader.blocks())


@pytest.mark.parametrize("block_events", [0, (1 << 21) + 1])
def test_block_sizes_out_of_bounds_are_refused(block_events):
    with pytest.raises(TraceError, match="from 1 to"):
        TraceWriter(io.BytesIO(), CAPTURE, block_events=block_events)


@settings(max_examples=30)
@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_every_header_that_is_written_is_read_back(name, guest):
    header = TraceHeader("operations", name, "mixed", 3, guest=guest)
    rows = [(32, 0, 0, 0, 0, 3, 0)]
    try:
        data = trace_bytes(rows, header)
    except TraceCorrupt as error:
        assert "not printable" in str(error) or "written" in str(error)  # noqa: PT017
        return
    with TraceReader(io.BytesIO(data)) as reader:
        assert reader.header == header

"""Files whose checksums are right and whose contents are not."""

import io
import tracemalloc
import zlib

import msgpack
import numpy as np
import pytest
import zstandard

from refault.errors import TraceCorrupt, TraceError, TraceTooLarge
from refault.trace import TraceReader, TraceValidator
from refault.trace.encoding import take_apart
from refault.trace.format import (
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    TAG_BLOCK,
    TAG_HEADER,
    TAG_INDEX,
)
from refault.trace.frames import frame, preamble
from tests.trace.files import (
    SAMPLE_ROWS,
    assembled,
    frames_of,
    read_error,
    trace_bytes,
    with_block,
    with_block_body,
    with_header,
    with_index,
)
from tests.trace.strategies import block_of

MIB = 1 << 20
BLOCK = msgpack.unpackb(dict(frames_of(trace_bytes()))[TAG_BLOCK])
# RFC 8878, section 3.1.2: whoever decompresses passes over it.
EMPTY_SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18" + bytes(4)
BLOCK_OFFSET = 16 + 16 + len(frames_of(trace_bytes())[0][1])


def peak_of(action):
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def prefix(tag, size, crc=0):
    sealed = tag + size.to_bytes(4, "little") + crc.to_bytes(4, "little")
    return sealed + zlib.crc32(sealed).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("tag", "size"),
    [
        (TAG_HEADER, MIB + 1),
        (TAG_HEADER, (1 << 32) - 1),
        (TAG_BLOCK, MAX_BLOCK_BYTES + 1),
        (TAG_INDEX, 1 << 30),
    ],
)
def test_a_frame_that_declares_too_much_is_refused_at_its_prefix(tag, size):
    start = preamble() if tag == TAG_HEADER else trace_bytes()[:BLOCK_OFFSET]
    validator = TraceValidator()

    def feed():
        with pytest.raises(TraceTooLarge, match=f"byte {len(start)}: .* declares {size} bytes"):
            validator.feed(start + prefix(tag, size))

    assert peak_of(feed) < MIB


def test_a_declared_size_takes_no_memory_before_its_bytes_come():
    validator = TraceValidator()
    start = trace_bytes()[:BLOCK_OFFSET] + prefix(TAG_BLOCK, MAX_BLOCK_BYTES)

    assert peak_of(lambda: validator.feed(start + bytes(1000))) < MIB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_count": MAX_BLOCK_EVENTS + 1}, "over the bound"),
        ({"event_count": 1 << 63}, "over the bound"),
        (
            {"event_count": MAX_BLOCK_EVENTS, "kinds": [[1, MAX_BLOCK_EVENTS]], "offset_count": 0}
            | {"descriptor_count": MAX_BLOCK_EVENTS},
            "unpacked bytes 48234504, over the bound",
        ),
        ({"event_count": 0}, "must be a number from 1"),
        ({"event_count": -1}, "must be a number from 1"),
        ({"event_count": True}, "must be a number from 1"),
        ({"event_count": 3.0}, "must be a number from 1"),
        ({"event_count": "9"}, "must be a number from 1"),
        ({"event_count": BLOCK["event_count"] + 1}, "add up to its events"),
        ({"descriptor_count": 0}, "must be a number from 1"),
        ({"descriptor_count": BLOCK["descriptor_count"] + 1}, "its zstd frame"),
        ({"descriptor_count": 1 << 40}, "over the bound"),
        ({"offset_count": 1 << 40}, "over the bound"),
        ({"offset_count": 0}, "must be a number from"),
        ({"offset_count": BLOCK["offset_count"] - 1}, "its zstd frame"),
        ({"wide_counts": [1 << 40, 0]}, "over the bound"),
        ({"wide_counts": [0, 0]}, "its zstd frame"),
        ({"wide_counts": [0]}, "must be two numbers"),
        ({"token_bytes": 4}, "its zstd frame"),
        ({"token_bytes": 8}, "must be 2 or 4"),
        ({"first_event_index": 1}, "must follow"),
        ({"first_event_index": None}, "must follow"),
        ({"kinds": 7}, "must be a list"),
        ({"kinds": []}, "add up to its events"),
        ({"kinds": [[1, -1]]}, "must be a number from 0"),
        ({"kinds": [*BLOCK["kinds"][::-1]]}, "must ascend"),
        ({"kinds": [[1, BLOCK["event_count"]]]}, ""),
        ({"kinds": [[77, 1], *BLOCK["kinds"]]}, "unknown kind 77"),
        ({"kinds": [[1, 1]] * 1000}, "within its bounds"),
        ({"kinds": [[1, 1]] * 100_000}, "ends with its streams"),
        ({"streams": b""}, "cannot be decompressed"),
        ({"streams": "text"}, "which are bytes"),
        ({"streams": BLOCK["streams"] + EMPTY_SKIPPABLE_FRAME}, "cannot be decompressed"),
        ({"streams": BLOCK["streams"] + EMPTY_SKIPPABLE_FRAME[:-1]}, "cannot be decompressed"),
        ({"streams": EMPTY_SKIPPABLE_FRAME + BLOCK["streams"]}, "zstd frame"),
        ({"streams": b"\x28\xb5\x2f\xfd"}, "cannot be decompressed"),
        ({"streams": BLOCK["streams"] + b"\0"}, "cannot be decompressed"),
        ({"streams": BLOCK["streams"] * 2}, "cannot be decompressed"),
        ({"streams": BLOCK["streams"][:-1] + bytes([BLOCK["streams"][-1] ^ 1])}, "cannot be decom"),
        ({"streams": BLOCK["streams"][:-5]}, "cannot be decompressed"),
        ({"more": 1}, "ends with its streams"),
        ({"token_bytes": {"more": 1}}, "must be 2 or 4"),
    ],
)
def test_a_block_whose_numbers_lie_is_refused_at_its_byte(changes, message):
    error = read_error(with_block(**changes))

    assert isinstance(error, TraceCorrupt | TraceTooLarge)
    assert error.offset == BLOCK_OFFSET
    assert message in str(error)


def test_a_block_with_a_key_too_many_or_too_few_is_refused():
    few = {key: value for key, value in BLOCK.items() if key != "token_bytes"}
    for body in (few, {"more": 1, **BLOCK}):
        error = read_error(with_block_body(msgpack.packb(body)))
        assert isinstance(error, TraceCorrupt)
        assert "must be a map of" in str(error)


@pytest.mark.parametrize("size_bytes", [0, 2, len(BLOCK["streams"]) - 1, (1 << 32) - 1])
def test_streams_that_are_not_as_long_as_they_say_are_refused(size_bytes):
    whole = msgpack.packb(BLOCK)
    head = whole[: whole.index(b"streams") + len(b"streams")]
    for code, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
        if size_bytes >> 8 * width:
            continue
        sized = head + bytes([code]) + size_bytes.to_bytes(width, "big")
        for body in (sized + BLOCK["streams"], sized, sized[:-1]):
            error = read_error(with_block_body(body))
            assert isinstance(error, TraceCorrupt)
            assert error.offset == BLOCK_OFFSET


def compressed(packed, **options):
    parameters = {"write_checksum": True, "write_content_size": True, **options}
    return zstandard.ZstdCompressor(level=3, **parameters).compress(packed)


def streams_of(body):
    """The streams of a block, as one writable array of bytes, and where each begins."""
    packed = zstandard.ZstdDecompressor().decompress(body["streams"])
    sizes = {
        "kind": body["event_count"],
        "token": 2 * body["event_count"],
        "offset": 2 * body["offset_count"],
        "insns8": body["event_count"],
        "insns16": 2 * body["wide_counts"][0],
        "insns32": 4 * body["wide_counts"][1],
    }
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    return np.frombuffer(packed, np.uint8).copy(), starts


@pytest.mark.parametrize(
    ("stream", "place", "value", "message"),
    [
        ("kind", 6, 5, "kinds it does not declare"),
        ("kind", 6, 2, ""),
        ("kind", 6, 255, "kinds it does not declare"),
        ("token", 1, 0xFF, "descriptors it does not have"),
        ("token", 40, 0, "another number of descriptors"),
        ("token", 0, 1, "another number of descriptors"),
        ("offset", 1, 0x10, "an offset beyond its page"),
        ("insns8", 0, 255, "fewer items"),
        ("insns8", 5, 1, "more items"),
        ("insns16", 0, 255, ""),
        ("insns16", 2, 0, "more items"),
    ],
)
def test_streams_that_contradict_each_other_are_refused(stream, place, value, message):
    packed, starts = streams_of(BLOCK)
    packed[starts[stream] + place] = value
    error = read_error(with_block(streams=compressed(packed.tobytes())))

    if message:
        assert isinstance(error, TraceCorrupt), error
        assert message in str(error)
        assert error.offset == BLOCK_OFFSET
    else:
        assert error is None or isinstance(error, TraceCorrupt)


def test_no_single_changed_byte_of_the_streams_leads_anywhere_but_to_an_answer():
    packed, _ = streams_of(BLOCK)
    for place in range(len(packed)):
        for value in (0, 1, 0x7F, 0xFF):
            changed = packed.copy()
            changed[place] = value
            error = read_error(with_block(streams=compressed(changed.tobytes())))
            assert error is None or isinstance(error, TraceError), (place, value)


def test_streams_without_a_checksum_or_a_size_are_refused():
    packed, _ = streams_of(BLOCK)
    for options in ({"write_checksum": False}, {"write_content_size": False}):
        error = read_error(with_block(streams=compressed(packed.tobytes(), **options)))
        assert isinstance(error, TraceCorrupt)
        assert "its zstd frame" in str(error)


def test_a_bomb_is_refused_before_it_inflates():
    bomb = compressed(bytes(512 * MIB))
    assert len(bomb) < MIB
    data = with_block(streams=bomb)

    def read():
        assert "its zstd frame 536870912" in str(read_error(data))

    assert peak_of(read) < 2 * MIB


def test_a_bomb_that_hides_its_size_is_refused_before_it_inflates():
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    bomb = b"".join(compressor.compress(bytes(MIB)) for _ in range(256)) + compressor.flush()

    def read():
        assert isinstance(read_error(with_block(streams=bomb)), TraceCorrupt)

    assert peak_of(read) < 4 * MIB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": "film"}, "header.content must be one of"),
        ({"content": ["capture"]}, "header.content must be one of"),
        ({"guest_mode": "short"}, "header.guest_mode must be one of"),
        ({"vcpu_count": 0}, "header.vcpu_count must be a number from 1 to 64"),
        ({"vcpu_count": 65}, "header.vcpu_count must be a number from 1 to 64"),
        ({"name": 5}, "header.name must be text"),
        ({"name": "x" * 5000}, "header.name has 5000 characters"),
        ({"notes": "text"}, "header.notes must be a list"),
        ({"notes": [1]}, "header.notes must be text"),
        ({"notes": ["n"] * 20_000}, "within its bounds"),
        ({"slots": []}, "given for captures and empty for operations"),
        ({"slots": [[0, 0, 1, 1]] * 37}, "over the bound of 36"),
        ({"slots": [[36, 0, 1, 1]]}, "header.slots.slot must be a number from 0 to 35"),
        ({"slots": [[0, 0, 0, 1]]}, "header.slots.page_count"),
        ({"slots": [[0, 0, 1 << 41, 1]]}, "header.slots.page_count"),
        ({"slots": [[0, 0, 5, 4]]}, "header.slots.host_level"),
        ({"slots": [[0, 0, 5]]}, "[slot, base_gfn, page_count, host_level]"),
        ({"slots": [[0, 0, 5, 1], [0, 9, 5, 1]]}, "numbered without repeats"),
        ({"slots": [[0, 0, 5, 1], [1, 4, 5, 1]]}, "free of overlaps"),
        ({"slots": [[0, (1 << 28) - 1, 5, 1]]}, "free of overlaps"),
        ({"slots": [[0, 1 << 28, 5, 1]]}, "header.slots.base_gfn"),
        ({"slots": [[0, 0, 1 << 23, 1], [1, 1 << 24, (1 << 23) + 1, 1]]}, "16777216 pages in all"),
        ({"capture_filter": {"a": [1]}}, "header.capture_filter must be text"),
        ({"guest": {"a": 1}}, "header.guest must be text"),
        ({"guest": {str(number): "" for number in range(2000)}}, "within its bounds"),
        ({"extra": 1}, "must be a map of"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused_by_the_name_of_the_field(changes, message):
    error = read_error(with_header(**changes))

    assert isinstance(error, TraceCorrupt | TraceTooLarge)
    assert message in str(error)
    assert error.offset == 16


@pytest.mark.parametrize(
    "body", [b"\xc0", b"\x93\x01\x02\x03", b"\x81", b"\xc1", b"\x80\x80", b"\xdf" + b"\xff" * 4]
)
def test_a_body_that_is_no_map_is_refused(body):
    frames = frames_of(trace_bytes())
    error = read_error(assembled([(TAG_HEADER, body), *frames[1:]]))

    assert isinstance(error, TraceCorrupt)
    assert error.offset == 16


def test_deeply_nested_lists_that_declare_much_take_no_memory():
    body = b"\x81\xa7content" + b"\xdd\x00\x00\x40\x00" * 5000

    def read():
        data = preamble() + frame(TAG_HEADER, body)
        assert isinstance(read_error(data), TraceCorrupt)

    assert peak_of(read) < 150 * MIB


@pytest.mark.parametrize(
    "changes",
    [
        {"event_count": 0},
        {"instruction_count": 1},
        {"events_by_kind": {}},
        {"blocks": []},
        {"blocks": [[0, 0, len(SAMPLE_ROWS)]]},
        {"sha256": bytes(32)},
        {"sha256": ""},
        {"recorded": []},
        {"recorded": {"a": "b"}},
    ],
)
def test_an_index_that_states_anything_else_than_the_file_holds_is_refused(changes):
    error = read_error(with_index(**changes))

    assert isinstance(error, TraceCorrupt)
    assert next(iter(changes)) in str(error)


def test_a_block_of_the_most_events_stays_within_bounded_memory():
    # One descriptor, no time: a few kilobytes that stand for two million events.
    ones = np.ones(MAX_BLOCK_EVENTS, np.uint8)
    block = block_of([SAMPLE_ROWS[-1]])
    wide = block._replace(
        kind=ones * 10,
        vcpu=ones * 0,
        flags=ones * 0,
        aux=ones * 0,
        insns=np.zeros(len(ones), np.uint32),
        a=np.zeros(len(ones), np.int64),
        b=np.zeros(len(ones), np.int64),
    )
    frames = frames_of(trace_bytes())
    data = preamble() + frame(*frames[0]) + frame(TAG_BLOCK, take_apart(wide).packed(1))
    assert len(data) < 20_000

    def read():
        with TraceReader(io.BytesIO(data), allow_truncated=True) as reader:
            assert sum(each.event_count for each in reader.blocks()) == MAX_BLOCK_EVENTS

    # 24 bytes of streams an event here, values held twice at worst, and one slice of columns.
    assert peak_of(read) < 100 * MIB

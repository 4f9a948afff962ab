import io
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import (
    NotATrace,
    TraceCorrupt,
    TraceError,
    TraceTruncated,
    UnsupportedTraceVersion,
)
from refault.trace import TraceReader, TraceValidator
from refault.trace.format import TAG_BLOCK
from refault.trace.frames import FrameParser
from tests.trace.files import (
    SAMPLE_ROWS,
    WORKLOAD,
    assembled,
    frames_of,
    read_error,
    read_rows,
    trace_bytes,
    validate,
    validate_stored,
)

SMALL = trace_bytes(block_events=20)
DEMO = WORKLOAD.read_bytes()


def frame_offsets(data):
    return [each.offset for each in FrameParser().feed(data)]


@pytest.fixture(scope="module")
def decoding():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def error_of(data, chunk_bytes=1 << 16, decoding=None):
    try:
        if decoding is None:
            validate(data, chunk_bytes)
        else:
            validate_stored(data, decoding, chunk_bytes)
    except TraceError as error:
        return error
    return None


def test_every_single_flipped_bit_is_refused_with_its_place():
    starts = [0, *frame_offsets(SMALL), len(SMALL) - 16]
    for place in range(len(SMALL)):
        for bit in range(8):
            changed = bytearray(SMALL)
            changed[place] ^= 1 << bit
            error = error_of(bytes(changed))
            assert error is not None, (place, bit)
            # The place named is that of the damaged part, never one behind it.
            assert error.offset in starts, (place, bit, str(error))
            assert error.offset <= place, (place, bit, str(error))
            assert str(error).startswith(f"byte {error.offset}: ")


@given(st.integers(0, len(DEMO) * 8 - 1))
def test_a_flipped_bit_of_a_real_trace_is_refused(bit):
    changed = bytearray(DEMO)
    changed[bit // 8] ^= 1 << bit % 8

    assert error_of(bytes(changed)) is not None


@given(
    st.integers(0, len(SMALL) - 1),
    st.binary(min_size=1, max_size=40),
    st.sampled_from(["put", "insert"]),
)
def test_bytes_that_do_not_belong_are_refused(place, foreign, how):
    changed = SMALL[:place] + foreign + SMALL[place + (len(foreign) if how == "put" else 0) :]
    if changed != SMALL:
        assert error_of(changed) is not None


def test_a_trace_cut_anywhere_is_refused_and_readable_up_to_its_last_whole_block():
    ends = [*frame_offsets(SMALL)[1:], len(SMALL) - 16]  # of header, blocks, index
    for length in range(len(SMALL)):
        cut = SMALL[:length]
        error = error_of(cut, 50)
        assert isinstance(error, NotATrace if length < 16 else TraceTruncated), length
        if length >= 16:
            assert error.offset == length
            assert "ends before the closing index" in str(error)
        if length < ends[0]:
            refused = read_error(cut, allow_truncated=True)
            assert isinstance(refused, NotATrace | TraceTruncated), length
        else:
            whole_blocks = sum(end <= length for end in ends[1:-1])
            rows = SAMPLE_ROWS[: 20 * whole_blocks]
            assert read_rows(cut, allow_truncated=True) == rows, length


def test_a_truncated_trace_says_so():
    with TraceReader(io.BytesIO(SMALL[:-20]), allow_truncated=True) as reader:
        list(reader.blocks())
    assert reader.truncated
    assert reader.summary.truncated
    assert reader.summary.event_count == len(SAMPLE_ROWS)
    assert reader.summary.size_bytes == len(SMALL) - 20

    with TraceReader(io.BytesIO(SMALL), allow_truncated=True) as reader:
        list(reader.blocks())
    assert not reader.truncated


def test_damage_is_refused_in_a_truncated_trace_as_well():
    changed = bytearray(SMALL[:-30])
    changed[frame_offsets(SMALL)[1] + 30] ^= 4

    assert isinstance(read_error(bytes(changed), allow_truncated=True), TraceCorrupt)


@pytest.mark.parametrize("garbage", [b"\0", b"garbage", SMALL])
def test_bytes_behind_the_end_are_refused_at_the_first_of_them(garbage):
    error = error_of(SMALL + garbage)

    assert error.offset == len(SMALL)
    assert "bytes follow the end of the trace" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF" + bytes(100),
        b"PTTRACE\0" + bytes(100),
        bytes(100),
        SMALL[1:],
        b"\x89PNG\r\n",
    ],
)
def test_other_files_are_told_from_traces_at_their_first_bytes(data):
    error = error_of(data)

    assert isinstance(error, NotATrace)
    assert error.offset == 0


def test_another_file_is_refused_before_its_second_chunk():
    validator = TraceValidator()
    with pytest.raises(NotATrace, match="refault import"):
        validator.feed(b"PT")


@pytest.mark.parametrize("version", [(0, 0), (3, 0), (1, 1), (2, 1)])
def test_another_version_is_told_with_both_versions(version):
    major, minor = version
    sealed = SMALL[:8] + major.to_bytes(2, "little") + minor.to_bytes(2, "little")
    changed = sealed + zlib.crc32(sealed).to_bytes(4, "little") + SMALL[16:]
    error = error_of(changed)

    assert isinstance(error, UnsupportedTraceVersion)
    assert error.offset == 8
    assert f"version {major}.{minor}, this program reads 1.0 to 2.0" in str(error)


def test_a_missing_repeated_or_displaced_block_is_refused():
    header, first, second, third, index = frames_of(SMALL)
    assert [tag for tag, _ in (first, second, third)] == [TAG_BLOCK] * 3
    for frames in (
        [header, first, third, index],
        [header, second, third, index],
        [header, first, first, second, third, index],
        [header, second, first, third, index],
    ):
        assert "must follow" in str(error_of(assembled(frames)))
    assert "closing index states" in str(error_of(assembled([header, first, second, index])))
    assert " where a block" in str(error_of(assembled([header, header, first, index])))
    assert "where a header must be" in str(error_of(assembled([first, second, third, index])))


def test_a_frame_of_an_unknown_tag_is_refused():
    frames = frames_of(SMALL)
    error = error_of(assembled([frames[0], (b"MORE", b"\x80"), *frames[1:]]))

    assert "b'MORE' where a block or the closing index must be" in str(error)
    assert error.offset == frame_offsets(SMALL)[1]


@given(st.integers(1, 400), st.integers(0, len(SMALL)))
def test_reader_and_validator_give_one_verdict_however_bytes_arrive(decoding, chunk_bytes, length):
    changed = bytearray(SMALL)
    if length < len(SMALL):
        changed[length] ^= 0x40
    verdicts = [
        error_of(bytes(changed), chunk_bytes),
        error_of(bytes(changed), 1 << 20),
        error_of(bytes(changed), chunk_bytes, decoding),
        read_error(bytes(changed)),
    ]
    assert len({type(verdict) for verdict in verdicts}) == 1
    assert len({getattr(verdict, "offset", None) for verdict in verdicts}) == 1


def test_of_two_wrongs_the_first_is_told_though_the_second_is_seen_sooner(decoding):
    header, first, _, third, index = frames_of(SMALL)
    changed = bytearray(assembled([header, first, first, third, index]))
    offsets = frame_offsets(bytes(changed))
    changed[offsets[3] + 40] ^= 1
    for chunk_bytes in (100, 1 << 20):
        error = error_of(bytes(changed), chunk_bytes, decoding)
        assert "must follow" in str(error)
        assert error.offset == offsets[2]


def test_a_flipped_bit_is_refused_when_its_block_is_whole_not_at_the_end():
    offsets = frame_offsets(SMALL)
    changed = bytearray(SMALL)
    changed[offsets[1] + 40] ^= 1
    validator = TraceValidator()
    validator.feed(bytes(changed[: offsets[2] - 1]))
    with pytest.raises(TraceCorrupt, match=f"byte {offsets[1]}: the checksum of frame BLCK"):
        validator.feed(bytes(changed[offsets[2] - 1 : offsets[2]]))

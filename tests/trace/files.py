"""Traces as bytes: sound ones, and parts of them put together wrongly on purpose."""

from __future__ import annotations

import io
from pathlib import Path

import msgpack

from refault.trace import TraceReader, TraceValidator, TraceWriter
from refault.trace.format import TAG_BLOCK, TAG_HEADER, TAG_INDEX
from refault.trace.frames import FrameParser, frame, preamble, trailer
from refault.trace.header import pack_header
from tests.trace.strategies import CAPTURE, block_of, rows_of

DEMO = Path(__file__).parents[2] / "demo" / "traces"
WORKLOAD = DEMO / "linux61-workload-1cpu.rft"
BOOT = DEMO / "linux61-boot-1cpu.rft"

ACCESS_ROW = (1, 0, 0, 3, 5, 0x7000_0123, 0x3123)
SAMPLE_ROWS = [
    (4, 0, 32, 0, 0, 0xC0000080, 0xD01),
    (7, 0, 32, 4, 0, 0x2000, 2),
    (8, 0, 0, 0, 0, 0x2008, 0x3067),
    (8, 0, 0, 0, 0, 0x2FF8, 0x8000000000004063),
    (3, 0, 32, 3, 0, 0x2000, 0),
    (1, 0, 2, 0, 300, 0xFFFFFFFF81000000, 0x5000),
    *[(1, 0, 1, 3, step, 0xFFFF888000006000 + 8 * step, 0x6000 + 8 * step) for step in range(40)],
    (2, 1, 0, 0x13, 70000, 0x3010, 0x7FFF000000000067),
    (1, 1, 18, 0, 9, 0x400000, (1 << 64) - 1),
    (6, 1, 5, 6, 1, 0x7FFFDEADB000, 6),
    (9, 0, 0, 3, 0, 0x3000, 1),
    (10, 0, 0, 0, 0, 2, 0x2000),
]
HOST_ROWS = [
    (33, 0, 0, 0, 0, 0, 0),
    (34, 0, 6, 1, 0, 1 << 20, 512),
    (35, 0, 0, 1, 0, 0, 0),
    (50, 0, 0, 0, 0, 64, 0),
    (51, 0, 0, 35, 0, 0, 0),
    (52, 0, 0, 0, 0, (1 << 64) - 1, 0),
    (53, 0, 0, 0, 0, 3, 0),
    (54, 0, 0, 0, 0, 128, 0),
    (55, 0, 0, 0, 0, 0, 0),
    (58, 0, 0, 0, 0, 3, 1),
    (59, 0, 0, 1, 0, 0, 0),
    (60, 0, 0, 0, 0, 3, 1 << 20),
    (61, 0, 0, 1, 0, 0, 0),
    (62, 0, 0, 1, 0, 0, 0),
]
EVERY_CAPTURE_KIND = [
    *SAMPLE_ROWS,
    (5, 1, 0, 0, 7, 0x7F00_0000_1000, 0x2000),
    (11, 0, 0, 2, 0, 0, 0),
    (12, 0, 0, 3, 1, 0x7F00_0000_1000, 5),
    *HOST_ROWS,
]
EVERY_OPERATION_KIND = [
    (32, 0, 0, 0, 0, 2, 1),
    *HOST_ROWS,
    (36, 0, 0, 0, 0, 0x1008, (1 << 64) - 1),
    (37, 1, 0, 0, 0, 0x80050033, 0x1000),
    (38, 1, 0, 0, 0, 0x20, 0xD01),
    *[(kind, 1, 0, 0, 0, 0x1000, 0) for kind in range(39, 43)],
    *[(kind, 0, 4, 0, 0, 0xFFFF888000001000, 0xAB) for kind in range(43, 49)],
    (49, 1, 0, 0, 0, 0x1000, 0),
    (56, 0, 0, 0, 0, 0x1000, 0),
    (57, 0, 0, 0, 0, 0x1000, 0),
    (63, 1, 0, 0, 0, 0x80050033, 0x1000),
    (64, 1, 0, 0, 0, 0x20, 0xD01),
]


def trace_bytes(rows=SAMPLE_ROWS, header=CAPTURE, **options) -> bytes:
    file = io.BytesIO()
    with TraceWriter(file, header, **{"level": 3, **options}) as writer:
        writer.append_block(block_of(rows))
    return file.getvalue()


def read_rows(data, **options):
    with TraceReader(io.BytesIO(data), **options) as reader:
        return [row for block in reader.blocks() for row in rows_of(block)]


def read_error(data, **options):
    """What reading raises; None where all is well."""
    try:
        read_rows(data, **options)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at its type
        return error
    return None


def validate(data, chunk_bytes=1 << 16):
    validator = TraceValidator()
    for start in range(0, len(data), chunk_bytes):
        validator.feed(data[start : start + chunk_bytes])
    return validator.close()


def validate_stored(data, decoding, chunk_bytes=1 << 16):
    """As uploads are validated: read back from where they are stored, and decoded elsewhere."""
    validator = TraceValidator(lambda start, size: data[start : start + size], decoding)
    for start in range(0, len(data), chunk_bytes):
        validator.feed(data[start : start + chunk_bytes])
    return validator.close()


def frames_of(data):
    """The frames of a sound trace as (tag, body)."""
    return [(each.tag, bytes(each.body)) for each in FrameParser().feed(data)]


def assembled(frames, version=1) -> bytes:
    """Frames with right checksums, whatever they hold, as a whole file."""
    parts = [frame(tag, body) for tag, body in frames]
    return preamble(version) + b"".join(parts) + trailer(len(parts[-1]))


def with_block(rows=None, header=CAPTURE, **changes) -> bytes:
    """A trace whose block declares some other values; its checksums are right."""
    frames = frames_of(trace_bytes(rows or SAMPLE_ROWS))
    body = msgpack.unpackb(dict(frames)[TAG_BLOCK])
    body.update(changes)
    return with_block_body(msgpack.packb(body), rows, header)


def with_block_body(body, rows=None, header=CAPTURE) -> bytes:
    """A trace whose block has this body; its checksums are right."""
    return assembled(
        [
            (TAG_HEADER, pack_header(header)),
            (TAG_BLOCK, body),
            (TAG_INDEX, dict(frames_of(trace_bytes(rows or SAMPLE_ROWS)))[TAG_INDEX]),
        ]
    )


def with_index(**changes) -> bytes:
    frames = frames_of(trace_bytes())
    body = msgpack.unpackb(frames[-1][1])
    body.update(changes)
    return assembled([*frames[:-1], (TAG_INDEX, msgpack.packb(body))])


def with_header(**changes) -> bytes:
    frames = frames_of(trace_bytes())
    body = msgpack.unpackb(frames[0][1])
    body.update(changes)
    return assembled([(TAG_HEADER, msgpack.packb(body)), *frames[1:]])

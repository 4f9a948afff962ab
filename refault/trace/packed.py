"""Checks what a block declares, and decompresses its streams.

The body of a BLCK frame is drawn in ``packing.py``. No memory is allocated for a number before it
is checked against its bound, and large data is never held twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import zstandard

from refault.errors import TraceCorrupt, TraceTooLarge
from refault.trace.format import KIND_NAMES, MAX_BLOCK_EVENTS, MAX_UNPACKED_BYTES, EventKind
from refault.trace.header import unpack_map
from refault.trace.packing import STREAM_TYPES, WIDE_STREAM_TYPES, Column

BLOCK_KEYS: Final = frozenset(
    {
        "first_event_index",
        "event_count",
        "kinds",
        "token_bytes",
        "offset_count",
        "wide_counts",
        "descriptor_count",
        "streams",
    }
)
# msgpack: the key before the streams; how many bytes their length takes, by the type byte.
STREAMS_KEY: Final[bytes] = msgpack.packb("streams")
BIN_SIZE_BYTES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
NO_BYTES: Final[bytes] = msgpack.packb(b"")
HEAD_BYTES: Final = 4096  # more than all numbers of a block take
ROOM_MASK: Final = (1 << 20) - 1  # rooms are whole mebibytes, so that one suits many blocks
# Far more blocks than a zstd frame of MAX_UNPACKED_BYTES needs, and few enough to count in Python;
# see RFC 8878, section 3.1.1.2.
MAX_ZSTD_BLOCKS: Final = 1 << 16
ZSTD_RLE: Final = 1
ZSTD_CHECKSUM_BYTES: Final = 4


@dataclass
class PackedBlock:
    """What a block declares, checked for bounds and consistency."""

    offset: int  # of its frame in the file
    first_event_index: int
    kinds: tuple[tuple[int, int], ...]  # kind, events of it; ascending
    types: dict[str, np.dtype[Any]]  # of each stream's items, in the order of the streams
    counts: dict[str, int]  # of each stream's items
    compressed: bytes | memoryview  # empty, once it has been unpacked

    @property
    def event_count(self) -> int:
        """How many events the block declares."""
        return self.counts["kind"]

    @property
    def packed_bytes(self) -> int:
        """The size of all streams: at most 41 bytes an event, and MAX_UNPACKED_BYTES."""
        return sum(self.counts[name] * dtype.itemsize for name, dtype in self.types.items())

    def refuse(self, why: str) -> TraceCorrupt:
        """The error for a block that is not what it declares."""
        return TraceCorrupt(
            f"the block of event {self.first_event_index} {why}; import or upload the trace again",
            offset=self.offset,
        )


def read_block(body: bytes | memoryview, first_event_index: int, *, offset: int) -> PackedBlock:
    """What the BLCK frame at byte ``offset`` declares, before any of it is unpacked.

    ``first_event_index`` is the number of events in the blocks before.

    Raises:
        TraceCorrupt: its numbers contradict each other or the blocks before.
        TraceTooLarge: a number is over its bound.
    """
    declared, streams = _split(body, offset)
    values = unpack_map(declared, BLOCK_KEYS, "block", offset=offset, max_array_len=len(KIND_NAMES))
    if values["first_event_index"] != first_event_index:
        raise TraceCorrupt(
            f"the block begins with event {values['first_event_index']!r:.40} where event "
            f"{first_event_index} must follow: a block is missing, or out of order",
            offset=offset,
        )
    bounds = _Bounds(offset)
    event_count = bounds.number(values["event_count"], "event_count", 1, MAX_BLOCK_EVENTS)
    kinds = bounds.kinds(values["kinds"], event_count)
    value_count = event_count - dict(kinds).get(EventKind.ACCESS, 0)
    wide16, wide32 = bounds.pair(values["wide_counts"], "wide_counts", event_count)
    descriptors = bounds.number(values["descriptor_count"], "descriptor_count", 1, event_count)
    counts = {
        "kind": event_count,
        "token": event_count,
        "offset": bounds.number(values["offset_count"], "offset_count", value_count, event_count),
        "insns8": event_count,
        "insns16": wide16,
        "insns32": wide32,
        **dict.fromkeys(("vcpu", "flags", "aux", "page", "shift"), descriptors),
        "value": value_count,
    }
    if values["token_bytes"] not in (2, 4):
        raise TraceCorrupt("the block's token_bytes must be 2 or 4", offset=offset)
    codes = STREAM_TYPES if values["token_bytes"] == 2 else WIDE_STREAM_TYPES
    types = {name: np.dtype(code) for name, code in codes.items()}
    packed = PackedBlock(offset, first_event_index, kinds, types, counts, streams)
    bounds.number(packed.packed_bytes, "unpacked bytes", 1, MAX_UNPACKED_BYTES)
    return packed


def _split(body: bytes | memoryview, offset: int) -> tuple[bytes, memoryview]:
    """The map of a block with its streams left out, and a view of the streams.

    The streams end the body; unpacking them with the rest would copy all these bytes.
    """
    key_at = bytes(body[:HEAD_BYTES]).find(STREAMS_KEY)
    at = key_at + len(STREAMS_KEY)
    if key_at >= 0 and len(body) > at and body[at] in BIN_SIZE_BYTES:
        start = at + 1 + BIN_SIZE_BYTES[body[at]]
        streams = memoryview(body)[start:]
        if int.from_bytes(body[at + 1 : start], "big") == len(streams):
            return bytes(body[:at]) + NO_BYTES, streams
    raise TraceCorrupt(
        "the block must be a map that ends with its streams, which are bytes; "
        "import or upload the trace again",
        offset=offset,
    )


class _Bounds:
    """The rules for the numbers of a block that begins at byte ``offset``."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def number(self, value: object, name: str, low: int, high: int) -> int:
        if type(value) is not int or value < low:
            raise TraceCorrupt(
                f"the block's {name} must be a number from {low} to {high}, not {value!r:.40}",
                offset=self.offset,
            )
        if value > high:
            raise TraceTooLarge(
                f"the block declares {name} {value}, over the bound of {high}", offset=self.offset
            )
        return value

    def pair(self, value: object, name: str, high: int) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2:
            raise TraceCorrupt(f"the block's {name} must be two numbers", offset=self.offset)
        return self.number(value[0], name, 0, high), self.number(value[1], name, 0, high)

    def kinds(self, value: object, event_count: int) -> tuple[tuple[int, int], ...]:
        if not isinstance(value, list):
            raise TraceCorrupt("the block's kinds must be a list", offset=self.offset)
        kinds = [self.pair(entry, "kinds", MAX_BLOCK_EVENTS) for entry in value]
        for kind, _ in kinds:
            if kind not in KIND_NAMES:
                raise TraceCorrupt(
                    f"the block holds events of unknown kind {kind}; "
                    "it needs a newer refault, or the tool that wrote it is wrong",
                    offset=self.offset,
                )
        numbers = [kind for kind, _ in kinds]
        if numbers != sorted(set(numbers)) or sum(count for _, count in kinds) != event_count:
            raise TraceCorrupt(
                "the block's kinds must ascend and add up to its events", offset=self.offset
            )
        return tuple(kinds)


class Rooms:
    """Buffers that blocks were unpacked into, kept for the next: fresh memory costs as much again.

    Threads may share it. It keeps as many rooms as blocks were open at the same time, each as large
    as its largest block. A room must be overwritten before it is read.
    """

    def __init__(self) -> None:
        self._free: list[Column] = []

    def take(self, size_bytes: int) -> Column:
        """At least so many bytes, of any content."""
        try:
            room = self._free.pop()
        except IndexError:
            room = np.empty(0, np.uint8)
        if len(room) < size_bytes:
            room = np.empty((size_bytes | ROOM_MASK) + 1, np.uint8)
        return room

    def give(self, room: Column) -> None:
        """Take one back; it must not be read any more."""
        self._free.append(room)


def decompress(packed: PackedBlock, rooms: Rooms) -> tuple[Column, dict[str, Column]]:
    """A room, and every stream in it; only a declared and bounded size is allocated."""
    size_bytes = packed.packed_bytes
    # The streams of 8 bytes an item are the last: one at an even address, all are.
    wide_bytes = 8 * sum(packed.counts[name] for name in ("page", "shift", "value"))
    at = (wide_bytes - size_bytes) % 8
    try:
        frame = zstandard.get_frame_parameters(packed.compressed)
        if frame.content_size != size_bytes or not frame.has_checksum:
            raise packed.refuse(
                f"declares {size_bytes} bytes, its zstd frame {frame.content_size}"
                + ("" if frame.has_checksum else " and no checksum")
            )
        room = rooms.take(at + size_bytes)
        # Decompressed in one piece, so that zstd needs no window of its own.
        reader = zstandard.ZstdDecompressor().stream_reader(
            packed.compressed, read_size=len(packed.compressed)
        )
        is_whole = reader.readinto(room[at : at + size_bytes].data) == size_bytes
        if not is_whole or _frame_bytes(packed.compressed) != len(packed.compressed):
            raise packed.refuse("cannot be decompressed: it is not one whole zstd frame")
    except zstandard.ZstdError as error:
        raise packed.refuse(f"cannot be decompressed ({error})") from error
    streams = {}
    for name, dtype in packed.types.items():
        streams[name] = np.frombuffer(room, dtype, packed.counts[name], at)
        at += streams[name].nbytes
    return room, streams


def _frame_bytes(data: bytes | memoryview) -> int:
    """The length of the zstd frame that ``data`` begins with; 0 if it has too many blocks."""
    at = zstandard.frame_header_size(data)
    for _ in range(MAX_ZSTD_BLOCKS):
        block = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if block >> 1 & 3 == ZSTD_RLE else block >> 3)
        if block & 1:
            return at + ZSTD_CHECKSUM_BYTES
    return 0

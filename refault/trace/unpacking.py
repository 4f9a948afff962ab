"""Bytes of a block back into events, a hundred thousand at a time, never one by one.

The streams are drawn in ``packing.py``. Everything a block declares is held against its bounds
before memory is taken, and against the streams before an event leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard

from refault.errors import TraceCorrupt, TraceTooLarge
from refault.trace.format import (
    KIND_NAMES,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    MAX_UNPACKED_BYTES,
    EventKind,
    Flag,
)
from refault.trace.header import unpack_map
from refault.trace.model import Block
from refault.trace.packing import DELTA_KINDS, OFFSET_MASK, STREAM_TYPES, WIDE_STREAM_TYPES, Column

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
# So many events leave at a time: few enough that one column, a megabyte, stays in the cache while
# it is put together, and enough that the calls for each kind cost little.
SLICE_EVENTS: Final = 1 << 17
# Bare numbers: numpy widens a whole column to int64 to meet a member of an enum.
ACCESS: Final = int(EventKind.ACCESS)
FETCH: Final = int(Flag.FETCH)


@dataclass(frozen=True)
class PackedBlock:
    """What a block declares, held against its bounds and against itself."""

    offset: int  # of its frame in the file
    first_event_index: int
    kinds: tuple[tuple[int, int], ...]  # kind, events of it; ascending
    types: dict[str, np.dtype[Any]]  # of each stream's items, in the order of the streams
    counts: dict[str, int]  # of each stream's items
    compressed: bytes

    @property
    def event_count(self) -> int:
        """How many events the block declares."""
        return self.counts["kind"]

    @property
    def packed_bytes(self) -> int:
        """How long all streams are together; at most 41 bytes an event, and MAX_UNPACKED_BYTES."""
        return sum(self.counts[name] * dtype.itemsize for name, dtype in self.types.items())

    def refuse(self, why: str) -> TraceCorrupt:
        """The error to raise when the block is not what it declares."""
        return TraceCorrupt(
            f"the block of event {self.first_event_index} {why}; import or upload the trace anew",
            offset=self.offset,
        )


def read_block(body: bytes | memoryview, first_event_index: int, *, offset: int) -> PackedBlock:
    """What the BLCK frame at byte ``offset`` declares, before any of it is unpacked.

    ``first_event_index`` is how many events the blocks before hold.

    Raises:
        TraceCorrupt: its numbers contradict each other or the blocks before.
        TraceTooLarge: a number is over its bound.
    """
    values = unpack_map(
        body,
        BLOCK_KEYS,
        "block",
        offset=offset,
        max_array_len=len(KIND_NAMES),
        max_bin_len=MAX_BLOCK_BYTES,
    )
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
    if not isinstance(values["streams"], bytes):
        raise TraceCorrupt("the block's streams must be bytes", offset=offset)
    packed = PackedBlock(offset, first_event_index, kinds, types, counts, values["streams"])
    bounds.number(packed.packed_bytes, "unpacked bytes", 1, MAX_UNPACKED_BYTES)
    return packed


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


class _Descriptors(NamedTuple):
    """One entry each per descriptor of the block; ``page`` is no longer a difference."""

    vcpu: Column
    flags: Column
    aux: Column
    page: Column
    shift: Column


class _Cursor:
    """Hands out a stream piece by piece."""

    def __init__(self, packed: PackedBlock, stream: Column) -> None:
        self._packed = packed
        self._stream = stream
        self._at = 0

    def take(self, count: int) -> Column:
        """The next ``count`` items, at an even address."""
        return _aligned(self.view(count))

    def view(self, count: int) -> Column:
        """The next ``count`` items where they lie."""
        if count > len(self._stream) - self._at:
            raise self._packed.refuse("holds fewer items than its events need")
        self._at += count
        return self._stream[self._at - count : self._at]

    def finish(self) -> None:
        """All items must have been taken."""
        if self._at != len(self._stream):
            raise self._packed.refuse("holds more items than its events need")


def _aligned(items: Column) -> Column:
    """A stream begins at any byte; numpy is much slower on odd addresses than this small copy."""
    return np.require(items, requirements="A")


class _Lane:
    """The events of one kind: their descriptors and, but for ACCESS, their offsets and values."""

    def __init__(self, kind: int, tokens: _Cursor, first_descriptor: int) -> None:
        self.kind = kind
        self.offsets: _Cursor | None = None
        self.values: _Cursor | None = None
        self._tokens = tokens
        self._first = first_descriptor
        self._next = first_descriptor

    def descriptors(self, count: int) -> Column:
        """The descriptor of each of the next ``count`` events."""
        tokens = self._tokens.take(count)
        new = np.flatnonzero(tokens == 0)
        descriptors: Column = np.add(tokens, self._first - 1, dtype=np.intp)
        if len(new):
            descriptors[new] = np.arange(self._next, self._next + len(new))
            self._next += len(new)
        return descriptors


class BlockUnpacker:
    """The events of one block; ``slices`` hands them out once."""

    def __init__(self, packed: PackedBlock) -> None:
        """Decompresses the block's streams and holds them against what it declares."""
        streams = _decompress(packed)
        # From here on nobody needs the compressed bytes, and they may be as many again.
        self._packed = packed = replace(packed, compressed=b"")
        self._kind = streams["kind"]
        self._descriptors = _Descriptors(
            streams["vcpu"],
            streams["flags"],
            streams["aux"],
            np.cumsum(streams["page"]),
            _aligned(streams["shift"]),
        )
        self._one_vcpu = not streams["vcpu"].any()
        value_count = len(streams["value"])
        access_offset_count = len(streams["offset"]) - value_count
        self._insns = [_Cursor(packed, streams[name]) for name in ("insns8", "insns16", "insns32")]
        self._access_offsets = _Cursor(packed, streams["offset"][:access_offset_count])
        self._lanes = self._make_lanes(streams, streams["offset"][access_offset_count:])

    @property
    def kinds(self) -> tuple[tuple[int, int], ...]:
        """Which kinds of events the block holds, and how many of each."""
        return self._packed.kinds

    def slices(self) -> Iterator[tuple[Block, dict[int, Column]]]:
        """The events in order, ``SLICE_EVENTS`` at a time, and where each kind is among them.

        Raises:
            TraceCorrupt: the streams contradict each other.
        """
        for start in range(0, self._packed.event_count, SLICE_EVENTS):
            kind = self._kind[start : start + SLICE_EVENTS].copy()
            yield self._slice(kind, self._packed.first_event_index + start)
        for cursor in (self._access_offsets, *self._insns):
            cursor.finish()

    def _slice(self, kind: Column, first_event_index: int) -> tuple[Block, dict[int, Column]]:
        descriptor = np.empty(len(kind), np.intp)
        offset = np.zeros(len(kind), np.uint16)
        places: dict[int, Column] = {}
        values: dict[int, Column] = {}
        for lane in self._lanes:
            events = np.flatnonzero(kind == lane.kind)  # a mask here costs thrice as much
            if not len(events):
                continue
            places[lane.kind] = events
            descriptor[events] = lane.descriptors(len(events))
            if lane.offsets is not None and lane.values is not None:
                offset[events] = lane.offsets.take(len(events))
                values[lane.kind] = lane.values.take(len(events))
        if sum(map(len, places.values())) != len(kind):
            raise self._packed.refuse("holds kinds it does not declare")
        flags = self._descriptors.flags.take(descriptor, mode="clip")
        data = np.flatnonzero((kind == ACCESS) & ((flags & FETCH) == 0))
        offset[data] = self._access_offsets.take(len(data))
        a = self._descriptors.page.take(descriptor, mode="clip")
        a += offset
        b = self._descriptors.shift.take(descriptor, mode="clip")
        b += a
        for lane_kind, value in values.items():
            b[places[lane_kind]] = value
        vcpu = self._vcpus(descriptor)
        aux = self._descriptors.aux.take(descriptor, mode="clip")
        insns = self._next_insns(len(kind))
        return Block(first_event_index, kind, vcpu, flags, aux, insns, a, b), places

    def _vcpus(self, descriptor: Column) -> Column:
        if self._one_vcpu:
            return np.zeros(len(descriptor), np.uint8)
        return self._descriptors.vcpu.take(descriptor, mode="clip")

    def _next_insns(self, count: int) -> Column:
        narrow, wide16, wide32 = self._insns
        part = narrow.take(count)
        insns = part.astype(np.uint32)
        rows = np.flatnonzero(part == 0xFF)
        part = wide16.take(len(rows))
        insns[rows] = part
        rows = rows[part == 0xFFFF]
        insns[rows] = wide32.take(len(rows))
        return insns

    def _make_lanes(self, streams: dict[str, Column], offsets: Column) -> list[_Lane]:
        """A lane per kind, with tokens that are sure to name descriptors of that kind."""
        lanes = []
        tokens = _Cursor(self._packed, streams["token"])
        other_offsets = _Cursor(self._packed, offsets)
        values = _Cursor(self._packed, streams["value"])
        descriptor_count = 0
        for kind, event_count in self._packed.kinds:
            token = tokens.view(event_count)
            new_count = int(np.count_nonzero(token == 0))  # of bools: nine times faster
            if token.max() > new_count:
                raise self._packed.refuse("names descriptors it does not have")
            lane = _Lane(kind, _Cursor(self._packed, token), descriptor_count)
            if kind != EventKind.ACCESS:
                value = values.view(event_count)
                if kind in DELTA_KINDS:
                    value = np.cumsum(value)
                lane.offsets = _Cursor(self._packed, other_offsets.view(event_count))
                lane.values = _Cursor(self._packed, value)
            lanes.append(lane)
            descriptor_count += new_count
        if descriptor_count != self._packed.counts["page"]:
            raise self._packed.refuse("declares another number of descriptors than it uses")
        if int(streams["offset"].max(initial=0)) > OFFSET_MASK:
            raise self._packed.refuse("holds an offset beyond its page")
        return lanes


def _decompress(packed: PackedBlock) -> dict[str, Column]:
    """Every stream by name; memory is taken only for the size that was declared and bounded."""
    try:
        frame = zstandard.get_frame_parameters(packed.compressed)
        if frame.content_size != packed.packed_bytes or not frame.has_checksum:
            raise packed.refuse(
                f"declares {packed.packed_bytes} bytes, its zstd frame {frame.content_size}"
                + ("" if frame.has_checksum else " and no checksum")
            )
        raw = zstandard.ZstdDecompressor().decompress(
            packed.compressed, max_output_size=packed.packed_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise packed.refuse(f"cannot be decompressed ({error})") from error
    streams = {}
    at = 0
    for name, dtype in packed.types.items():
        streams[name] = np.frombuffer(raw, dtype, packed.counts[name], at)
        at += streams[name].nbytes
    return streams

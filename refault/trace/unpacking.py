"""Turns the streams of a block back into events, a hundred thousand at a time.

The streams are drawn in ``packing.py``. They are checked against what the block declares before
any event is yielded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from refault.trace.contents import Block
from refault.trace.format import EventKind, Flag
from refault.trace.packed import PackedBlock, Rooms, decompress
from refault.trace.packing import DELTA_KINDS, OFFSET_MASK, Column

# Events of a slice: few enough that one column, a megabyte, stays in the cache while it is made,
# and enough that the calls for each kind cost little.
SLICE_EVENTS: Final = 1 << 17
# Plain numbers: compared with a member of an enum, numpy widens a whole column to int64.
ACCESS: Final = int(EventKind.ACCESS)
FETCH: Final = int(Flag.FETCH)


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
        """The next ``count`` items, aligned."""
        return _aligned(self.view(count))

    def view(self, count: int) -> Column:
        """The next ``count`` items, as a view."""
        if count > len(self._stream) - self._at:
            raise self._packed.refuse("holds fewer items than its events need")
        self._at += count
        return self._stream[self._at - count : self._at]

    def finish(self) -> None:
        """All items must have been taken."""
        if self._at != len(self._stream):
            raise self._packed.refuse("holds more items than its events need")


def _aligned(items: Column) -> Column:
    """A stream begins at any byte, and numpy on unaligned items is slower than this small copy."""
    return np.require(items, requirements="A")


class _Lane:
    """The events of one kind: their descriptors and, except for ACCESS, offsets and values."""

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

    def __init__(self, packed: PackedBlock, rooms: Rooms | None = None) -> None:
        """Decompress the block's streams and check them against what it declares."""
        self._rooms = rooms or Rooms()
        self._room, streams = decompress(packed, self._rooms)
        # The compressed bytes are not needed any more, and may be as many again.
        packed.compressed = b""
        self._packed = packed
        self._kind = streams["kind"]
        np.cumsum(streams["page"], out=streams["page"])
        self._descriptors = _Descriptors(*(streams[name] for name in _Descriptors._fields))
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
        """The events in order, ``SLICE_EVENTS`` at a time, and the positions of each kind.

        Raises:
            TraceCorrupt: the streams contradict each other.
        """
        # Yield copies, not views of the room.
        for start in range(0, self._packed.event_count, SLICE_EVENTS):
            kind = self._kind[start : start + SLICE_EVENTS].copy()
            yield self._slice(kind, self._packed.first_event_index + start)
        for cursor in (self._access_offsets, *self._insns):
            cursor.finish()
        self._rooms.give(self._room)

    def _slice(self, kind: Column, first_event_index: int) -> tuple[Block, dict[int, Column]]:
        insns = self._next_insns(len(kind))
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
        self._fill_access_offsets(offset, (kind == ACCESS) & ((flags & FETCH) == 0))
        a = self._descriptors.page.take(descriptor, mode="clip")
        a += offset
        b = self._descriptors.shift.take(descriptor, mode="clip")
        b += a
        for lane_kind, value in values.items():
            b[places[lane_kind]] = value
        vcpu = self._vcpus(descriptor)
        aux = self._descriptors.aux.take(descriptor, mode="clip")
        return Block(first_event_index, kind, vcpu, flags, aux, insns, a, b), places

    def _fill_access_offsets(self, offset: Column, is_data: Column) -> None:
        data = np.flatnonzero(is_data)
        offset[data] = self._access_offsets.take(len(data))

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
        """A lane per kind, whose tokens are checked to name descriptors of that kind."""
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
                    np.cumsum(value, out=value)
                lane.offsets = _Cursor(self._packed, other_offsets.view(event_count))
                lane.values = _Cursor(self._packed, value)
            lanes.append(lane)
            descriptor_count += new_count
        if descriptor_count != self._packed.counts["page"]:
            raise self._packed.refuse("declares another number of descriptors than it uses")
        if int(streams["offset"].max(initial=0)) > OFFSET_MASK:
            raise self._packed.refuse("holds an offset beyond its page")
        return lanes

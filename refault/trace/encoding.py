"""Splits the events of a block into the streams that ``packing.py`` draws, and compresses them.

What is here decides how well and how fast a trace is written, never what a reader makes of it: so
it may change without a new version of the format, and is no part of an engine's digest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack
import numpy as np
import zstandard

from refault.trace.contents import Block
from refault.trace.format import EventKind, Flag
from refault.trace.packing import (
    DELTA_KINDS,
    OFFSET_MASK,
    STREAM_TYPES,
    WIDE_STREAM_TYPES,
    Column,
)

MAX_WINDOW_LOG: Final = 27
# Larger blocks compress better, but where little repeats, memory matters more.
WHOLE_BLOCK_BYTES: Final = 20 << 20
WHOLE_BLOCK_DESCRIPTORS: Final = 1 << 18
# Plain numbers: compared with a member of an enum, numpy widens a whole column to int64.
ACCESS: Final = int(EventKind.ACCESS)
FETCH: Final = int(Flag.FETCH)
FLAGS_BITS: Final = 8
AUX_BITS: Final = 16
# Odd numbers without a pattern (the fractional parts of some square roots), one set for each pass.
MULTIPLIERS: Final = (
    (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B),
    (0xA54FF53A5F1D36F1, 0x510E527FADE682D1, 0x9B05688C2B3E6C1F),
    (0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179, 0xCBBB9D5DC1059ED9),
    (0x629A292A367CD507, 0x9159015A3070DD17, 0x152FECD8F70E5939),
)
MIN_TABLE_BITS: Final = 10
MAX_TABLE_BITS: Final = 20


class Streams(NamedTuple):
    """The events of a block, split into streams; ``places`` are where those of each kind stand."""

    first_event_index: int
    places: dict[int, Column]  # ascending kinds
    columns: dict[str, Column]

    @property
    def kinds(self) -> list[list[int]]:
        """Each kind, and how many events of it there are."""
        return [[kind, len(events)] for kind, events in self.places.items()]

    @property
    def is_too_much(self) -> bool:
        """Whether to write it as two blocks: a reader has to hold a whole block."""
        unpacked_bytes = sum(stream.nbytes for stream in self.columns.values())
        return (
            unpacked_bytes > WHOLE_BLOCK_BYTES
            or len(self.columns["page"]) > WHOLE_BLOCK_DESCRIPTORS
        )

    def packed(self, level: int) -> bytes:
        """The body of a BLCK frame: a msgpack map of counts and one zstd frame of all streams."""
        columns = self.columns
        body: bytes = msgpack.packb(
            {
                "first_event_index": self.first_event_index,
                "event_count": len(columns["kind"]),
                "kinds": self.kinds,
                "token_bytes": columns["token"].itemsize,
                "offset_count": len(columns["offset"]),
                "wide_counts": [len(columns["insns16"]), len(columns["insns32"])],
                "descriptor_count": len(columns["page"]),
                "streams": _compress(
                    b"".join(stream.tobytes() for stream in columns.values()), level
                ),
            }
        )
        return body


def _compress(packed: bytes, level: int) -> bytes:
    """One zstd frame with content size and checksum, whose window spans all of it."""
    window_log = min(MAX_WINDOW_LOG, max(10, len(packed).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(packed),
        window_log=window_log,
        write_content_size=True,
        write_checksum=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(packed)


def take_apart(block: Block) -> Streams:
    """The streams of a block."""
    present = np.flatnonzero(np.bincount(block.kind, minlength=256)).tolist()
    places = {kind: np.flatnonzero(block.kind == kind) for kind in present}
    looks = block.aux.astype(np.uint32) << np.uint32(AUX_BITS)
    looks |= block.flags.astype(np.uint32) << np.uint32(FLAGS_BITS)
    looks |= block.vcpu
    lanes = [_Lane.of(block, kind, events, looks.take(events)) for kind, events in places.items()]
    rows = _join([lane.described for lane in lanes])
    wide = max((len(lane.described) for lane in lanes), default=0) > 0xFFFE
    streams = {
        "kind": block.kind,
        "token": _join([lane.token for lane in lanes]),
        "offset": _join([lane.offset for lane in lanes]),
        **_narrow(block.insns),
        "vcpu": block.vcpu[rows],
        "flags": block.flags[rows],
        "aux": block.aux[rows],
        "page": np.diff(_join([lane.page for lane in lanes]), prepend=0),
        "shift": _join([lane.shift for lane in lanes]),
        "value": _join([lane.value for lane in lanes]),
    }
    types = WIDE_STREAM_TYPES if wide else STREAM_TYPES
    columns = {name: stream.astype(types[name], copy=False) for name, stream in streams.items()}
    return Streams(block.first_event_index, places, columns)


class _Lane(NamedTuple):
    """The events of one kind."""

    token: Column
    offset: Column
    value: Column
    described: Column  # the event of the block that each descriptor is taken from
    page: Column  # these two one each per descriptor
    shift: Column

    @classmethod
    def of(cls, block: Block, kind: int, events: Column, looks: Column) -> _Lane:
        """Those of one kind; ``looks`` are their vCPU, flags and aux as one number."""
        a, b = block.a.take(events), block.b.take(events)
        offset = a.astype(np.uint16)  # its low bits, whatever its sign
        offset &= OFFSET_MASK
        page = a & ~OFFSET_MASK
        if kind == ACCESS:
            is_fetch = looks & np.uint32(FETCH << FLAGS_BITS) != 0
            fetches = np.flatnonzero(is_fetch)
            page[fetches] = a[fetches]
            offset, shift, value = offset[~is_fetch], b - a, b[:0]
            first = first_alike(looks, page, shift)
        else:
            shift, value = None, np.diff(b, prepend=0) if kind in DELTA_KINDS else b
            first = first_alike(looks, page)
        is_first = np.zeros(len(events), bool)
        is_first[first] = True
        described = np.flatnonzero(is_first)
        token = np.cumsum(is_first, dtype=np.int32).take(first)
        token[described] = 0
        shifts = np.zeros(len(described), np.int64) if shift is None else shift[described]
        return cls(token, offset, value, events[described], page[described], shifts)


def first_alike(*keys: Column) -> Column:
    """For each row of up to three integer columns the earliest row that equals it in all of them.

    Rows are hashed into a table in which the earliest row of a slot wins. Those whose winner is
    another row go on to the next pass with another hash; what four passes leave is sorted. So a
    pass costs a few looks at a table that fits the cache, and no collision changes the answer.
    """
    count = len(keys[0])
    first = np.empty(count, np.int32)
    rows: Column = np.arange(count, dtype=np.int32)
    bits = min(MAX_TABLE_BITS, max(MIN_TABLE_BITS, count.bit_length() - 2))
    winners = np.zeros(1 << bits, np.int32)
    for multipliers in MULTIPLIERS:
        slot = _slots(keys, multipliers, bits)
        winners[slot[::-1]] = rows[::-1]  # of equal places numpy keeps the last that is written
        winner = winners.take(slot)
        is_all = len(rows) == count
        at = winner if is_all else np.searchsorted(rows, winner)
        is_alike = keys[0].take(at) == keys[0]
        for key in keys[1:]:
            is_alike &= key.take(at) == key
        if is_all:
            first[:] = winner  # those of the rows that are left are found below
        else:
            first[rows[is_alike]] = winner[is_alike]
        left = np.flatnonzero(~is_alike)
        rows, keys = rows[left], tuple(key[left] for key in keys)
        if not len(rows):
            return first
    first[rows] = rows[_first_by_sorting(keys)]
    return first


def _slots(keys: tuple[Column, ...], multipliers: tuple[int, ...], bits: int) -> Column:
    """The slot of a table of ``2**bits`` for each row."""
    mixed: Column = np.zeros(len(keys[0]), np.uint64)
    for key, multiplier in zip(keys, multipliers, strict=False):
        mixed += (key.view(np.uint64) if key.itemsize == 8 else key) * np.uint64(multiplier)
    mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(multipliers[0]) >> np.uint64(64 - bits)).view(np.int64)


def _first_by_sorting(keys: tuple[Column, ...]) -> Column:
    order = np.lexsort(keys)
    differs = np.ones(len(order), bool)
    differs[1:] = False
    for key in keys:
        ordered = key[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    first = np.empty(len(order), np.int64)
    # lexsort is stable: the first of equal rows is the earliest
    first[order] = order[differs][np.cumsum(differs) - 1]
    return first


def _narrow(insns: Column) -> dict[str, Column]:
    """Each number in the narrowest stream it fits, all ones in the narrower ones before."""
    wide16 = insns[insns >= 0xFF]
    return {
        "insns8": np.minimum(insns, 0xFF),
        "insns16": np.minimum(wide16, 0xFFFF),
        "insns32": wide16[wide16 >= 0xFFFF],
    }


def _join(parts: list[Column]) -> Column:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)

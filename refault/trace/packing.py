"""The events of a block as bytes: streams that compress well and unpack by whole columns.

zstd finds repeated bytes, so each stream holds one kind of thing, as narrow as possible::

    stream    type       items              what
    kind      u8         one per event      in event order
    token     u16 | u32  one per event      kind by kind: 0 = next new descriptor of the kind,
                                            t = the kind's descriptor t-1 again
    offset    u16        one per event that kind by kind: low 12 bits of ``a``
                         is no fetch ACCESS
    insns8    u8         one per event      in event order; all ones: see the next wider
    insns16   u16        one per 255        likewise
    insns32   u32        one per 65535
    vcpu      u8         one per descriptor
    flags     u8         one per descriptor
    aux       u8         one per descriptor
    page      i64        one per descriptor ``a`` without its offset (a fetch ACCESS: all of it),
                                            less the one before
    shift     i64        one per descriptor ACCESS: ``b - a``; else 0
    value     i64        one per event that kind by kind: ``b``; of the kinds in DELTA_KINDS
                         is no ACCESS       less the one before

A descriptor is what events of one kind have in common: vCPU, flags, aux, page of ``a``, and for an
ACCESS the distance from gva to gpa. Kinds ascend; descriptors are numbered per kind in order of
first use. Guests touch few pages in many ways, so tokens repeat in long runs where raw addresses
would not, and separating the kinds keeps a burst of table stores from breaking a run of accesses.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from refault.trace.contents import PAGE_BYTES, Block
from refault.trace.format import EventKind, Flag

Column = NDArray[Any]

STREAM_TYPES: Final = {
    "kind": "<u1",
    "token": "<u2",
    "offset": "<u2",
    "insns8": "<u1",
    "insns16": "<u2",
    "insns32": "<u4",
    "vcpu": "<u1",
    "flags": "<u1",
    "aux": "<u1",
    "page": "<i8",
    "shift": "<i8",
    "value": "<i8",
}
# Of a block with 65535 descriptors of one kind or more.
WIDE_STREAM_TYPES: Final = {**STREAM_TYPES, "token": "<u4"}
# Entries of a table, and words a vector writes into one, mostly point a page further than the last.
DELTA_KINDS: Final = frozenset({EventKind.TABLE_ENTRY, EventKind.OP_POKE})
OFFSET_MASK: Final = PAGE_BYTES - 1
MAX_WINDOW_LOG: Final = 27
# Larger blocks compress better, but where little repeats, memory matters more.
WHOLE_BLOCK_BYTES: Final = 20 << 20
WHOLE_BLOCK_DESCRIPTORS: Final = 1 << 18


class Streams(NamedTuple):
    """The events of a block, split into streams."""

    first_event_index: int
    kinds: list[list[int]]  # [kind, events of it], ascending
    columns: dict[str, Column]

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
    access = block.kind == EventKind.ACCESS
    has_offset = ~(access & ((block.flags & Flag.FETCH) != 0))
    offset = np.where(has_offset, block.a & OFFSET_MASK, 0)
    page = block.a - offset
    shift = np.where(access, block.b - block.a, 0)
    vcpu, flags, aux = (column.astype(np.int64) for column in (block.vcpu, block.flags, block.aux))
    looks = vcpu | flags << 8 | aux << 16
    kinds: list[list[int]] = []
    tokens: list[Column] = []
    offsets: list[Column] = []
    values: list[Column] = []
    described: list[Column] = []  # the event each descriptor is taken from
    for kind in np.flatnonzero(np.bincount(block.kind, minlength=256)).tolist():
        events = np.flatnonzero(block.kind == kind)
        descriptor, first = _number(looks[events], page[events], shift[events])
        token = descriptor + 1
        token[first] = 0
        kinds.append([kind, len(events)])
        tokens.append(token)
        described.append(events[first])
        offsets.append(offset[events[has_offset[events]]])
        if kind != EventKind.ACCESS:
            value = block.b[events]
            values.append(np.diff(value, prepend=0) if kind in DELTA_KINDS else value)
    rows = _join(described)
    wide = max(map(len, described), default=0) > 0xFFFE
    streams = {
        "kind": block.kind,
        "token": _join(tokens),
        "offset": _join(offsets),
        **_narrow(block.insns),
        "vcpu": block.vcpu[rows],
        "flags": block.flags[rows],
        "aux": block.aux[rows],
        "page": np.diff(page[rows], prepend=0),
        "shift": shift[rows],
        "value": _join(values),
    }
    types = WIDE_STREAM_TYPES if wide else STREAM_TYPES
    columns = {name: stream.astype(types[name]) for name, stream in streams.items()}
    return Streams(block.first_event_index, kinds, columns)


def _number(*keys: Column) -> tuple[Column, Column]:
    """Number the distinct rows of ``keys`` in order of first appearance.

    Answers each row's number, and for each number the row it appears in first.
    """
    order = np.lexsort(keys)
    differs = np.ones(len(order), bool)
    differs[1:] = False
    for key in keys:
        ordered = key[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    first = order[differs]  # lexsort is stable: the first of equal rows is the earliest
    by_appearance = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[by_appearance] = np.arange(len(first))
    number = np.empty(len(order), np.int64)
    number[order] = rank[np.cumsum(differs) - 1]
    return number, first[by_appearance]


def _narrow(insns: Column) -> dict[str, Column]:
    """Each number in the narrowest stream it fits, all ones in the narrower ones before."""
    wide16 = insns[insns >= 0xFF]
    return {
        "insns8": np.minimum(insns, 0xFF),
        "insns16": np.minimum(wide16, 0xFFFF),
        "insns32": wide16[wide16 >= 0xFFFF],
    }


def _join(parts: list[Column]) -> Column:
    return np.concatenate([np.empty(0, np.int64), *parts])

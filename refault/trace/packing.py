"""Columns to bytes and back (first simple form)."""

from __future__ import annotations

from typing import Final

import msgpack
import numpy as np
import zstandard

from refault.errors import TraceCorrupt
from refault.trace.header import unpack_map
from refault.trace.model import Block

COLUMNS = (("kind", "u1"), ("vcpu", "u1"), ("flags", "u1"), ("aux", "u1"), ("insns", "<u4"), ("a", "<i8"), ("b", "<i8"))
BLOCK_KEYS: Final = frozenset({"first_event_index", "event_count", "packed_bytes", "data"})


class BlockPacker:
    def __init__(self, level: int) -> None:
        self._level = level

    def pack(self, block: Block) -> bytes:
        raw = b"".join(np.ascontiguousarray(getattr(block, n), dtype=t).tobytes() for n, t in COLUMNS)
        data = zstandard.ZstdCompressor(level=self._level, write_checksum=True).compress(raw)
        return msgpack.packb({"first_event_index": block.first_event_index, "event_count": block.event_count, "packed_bytes": len(raw), "data": data})


class BlockUnpacker:
    def unpack(self, body: bytes, first_event_index: int, *, offset: int) -> Block:
        v = unpack_map(body, BLOCK_KEYS, "block", offset=offset)
        if v["first_event_index"] != first_event_index:
            raise TraceCorrupt("block out of order", offset=offset)
        event_count, data = v["event_count"], v["data"]
        if v["packed_bytes"] != 24 * event_count:
            raise TraceCorrupt("the block's size contradicts its event count", offset=offset)
        p = zstandard.get_frame_parameters(data)
        if p.content_size != v["packed_bytes"] or not p.has_checksum:
            raise TraceCorrupt("size", offset=offset)
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=v["packed_bytes"])
        out = []
        at = 0
        for _, t in COLUMNS:
            out.append(np.frombuffer(raw, t, event_count, at))
            at += out[-1].nbytes
        return Block(first_event_index, *out)

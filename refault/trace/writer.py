"""Writes a trace as a stream of blocks, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import ArrayLike

from refault.errors import TraceError
from refault.trace.format import MAX_BLOCK_EVENTS, TAG_BLOCK, TAG_HEADER, TAG_INDEX
from refault.trace.frames import frame, preamble, trailer
from refault.trace.header import pack_header
from refault.trace.model import Block, TraceHeader, TraceSummary
from refault.trace.packing import pack_block
from refault.trace.rules import EventRules
from refault.trace.totals import Totals

DEFAULT_BLOCK_EVENTS: Final = MAX_BLOCK_EVENTS
COLUMN_TYPES: Final = {
    "kind": np.uint8,
    "vcpu": np.uint8,
    "flags": np.uint8,
    "aux": np.uint8,
    "insns": np.uint32,
    "a": np.int64,
    "b": np.int64,
}


class TraceWriter:
    """A trace being written; a context manager.

    To a path it writes beside it, as ``NAME.partial``, and renames at ``close()``, so that no
    reader meets half a trace; leaving the ``with`` block by an exception removes the partial file.
    A binary file given instead stays open. Events that break a rule are refused as a reader
    would refuse them.
    """

    def __init__(
        self,
        destination: Path | BinaryIO,
        header: TraceHeader,
        *,
        level: int = 19,
        block_events: int = DEFAULT_BLOCK_EVENTS,
    ) -> None:
        if not 1 <= block_events <= MAX_BLOCK_EVENTS:
            raise TraceError(f"block_events must be from 1 to {MAX_BLOCK_EVENTS}")
        body = pack_header(header)
        self._header = header
        self._block_events = block_events
        self._level = level
        self._rules = EventRules(header)
        self._totals = Totals()
        self._pending: list[Block] = []
        self._pending_count = 0
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._summary: TraceSummary | None = None
        self._path = destination if isinstance(destination, Path) else None
        self._partial = self._path and self._path.with_name(self._path.name + ".partial")
        try:
            self._file = self._partial.open("wb") if self._partial else destination
        except OSError as error:
            raise TraceError(f"{self._partial} cannot be written: {error.strerror}") from error
        self._write(preamble())
        self._write(frame(TAG_HEADER, body))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_type is not None:
            self.discard()
        elif self._summary is None:
            self.close()

    def append(
        self,
        *,
        kind: ArrayLike,
        vcpu: ArrayLike = 0,
        flags: ArrayLike = 0,
        aux: ArrayLike = 0,
        insns: ArrayLike = 0,
        a: ArrayLike = 0,
        b: ArrayLike = 0,
    ) -> None:
        """Adds events, one column each; a column may be one value for all of them.

        ``a`` and ``b`` may be uint64 or int64; their bits are kept.
        """
        kinds = np.atleast_1d(np.asarray(kind, np.uint8))
        columns = {"vcpu": vcpu, "flags": flags, "aux": aux, "insns": insns, "a": a, "b": b}
        self.append_block(
            Block(0, kinds, *(_column(name, value, len(kinds)) for name, value in columns.items()))
        )

    def append_block(self, block: Block) -> None:
        """Adds the events of a block; its ``first_event_index`` is not looked at."""
        self._pending.append(block)
        self._pending_count += block.event_count
        if self._pending_count >= self._block_events:
            merged = self._merge()
            whole = merged.event_count // self._block_events * self._block_events
            for start in range(0, whole, self._block_events):
                self._write_block(_slice(merged, start, start + self._block_events))
            rest = _slice(merged, whole, merged.event_count)
            self._pending = [_slice(rest, 0, rest.event_count, copy=True)]
            self._pending_count = rest.event_count

    def close(self, recorded: Mapping[str, int] | None = None) -> TraceSummary:
        """Writes what is left and the closing index, and names the trace.

        ``recorded`` is what the capture tool said at its end, kept for later checks.
        """
        if self._pending_count:
            self._write_block(self._merge())
        self._rules.finish(offset=self._size_bytes)
        body = self._totals.pack_index(recorded or {}, self._sha256.digest())
        index = frame(TAG_INDEX, body)
        self._write(index)
        self._write(trailer(len(index)))
        if self._path and self._partial:
            self._file.close()
            self._partial.replace(self._path)
        self._summary = TraceSummary(
            digest=self._sha256.hexdigest(),
            size_bytes=self._size_bytes,
            event_count=self._totals.event_count,
            instruction_count=self._totals.instruction_count,
            events_by_kind=self._totals.events_by_kind,
            vcpu_count=self._header.vcpu_count,
            truncated=False,
            header=self._header,
            recorded=dict(recorded or {}),
        )
        return self._summary

    def discard(self) -> None:
        """Gives the trace up and removes what was written, if the writer made the file."""
        if self._partial:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def _merge(self) -> Block:
        blocks = self._pending
        self._pending, self._pending_count = [], 0
        if len(blocks) == 1:
            return blocks[0]
        return Block(0, *(np.concatenate(columns) for columns in list(zip(*blocks, strict=True))[1:]))

    def _write_block(self, block: Block) -> None:
        block = block._replace(first_event_index=self._totals.event_count)
        by_kind = np.bincount(block.kind, minlength=256)
        kinds = np.flatnonzero(by_kind).tolist()
        self._rules.begin_block(kinds, self._size_bytes)
        self._rules.check(block)
        self._totals.count_block(((kind, int(by_kind[kind])) for kind in kinds), self._size_bytes)
        self._totals.add_instructions(block)
        self._write(frame(TAG_BLOCK, pack_block(block, self._level)))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self._size_bytes += len(data)


def _column(name: str, value: ArrayLike, event_count: int) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.uint64:
        array = array.view(np.int64)
    return np.broadcast_to(array.astype(COLUMN_TYPES[name]), (event_count,))


def _slice(block: Block, start: int, stop: int, *, copy: bool = False) -> Block:
    parts = (column[start:stop] for column in block[1:])
    return Block(0, *(part.copy() if copy else part for part in parts))

"""Writes a trace as a stream of blocks, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from refault.errors import TraceError
from refault.trace.contents import COLUMN_TYPES, Block, TraceHeader, TraceSummary, join_blocks
from refault.trace.encoding import take_apart
from refault.trace.format import MAX_BLOCK_EVENTS, TAG_BLOCK, TAG_HEADER, TAG_INDEX
from refault.trace.frames import frame, preamble, trailer
from refault.trace.header import pack_header, version_of
from refault.trace.rules import EventRules
from refault.trace.totals import Totals

DEFAULT_BLOCK_EVENTS: Final = MAX_BLOCK_EVENTS


class TraceWriter:
    """A trace being written; a context manager.

    A path is written as ``NAME.partial`` and renamed at ``close()``, so that no reader sees half a
    trace; leaving the ``with`` block by an exception removes the partial file. A binary file stays
    open. Events that break a rule are refused, as a reader would.

    With more than one of ``packers``, so many threads pack blocks while the next events come. The
    bytes are the same; an event that breaks a rule is refused some blocks later.
    """

    def __init__(
        self,
        destination: Path | BinaryIO,
        header: TraceHeader,
        *,
        level: int = 19,
        block_events: int = DEFAULT_BLOCK_EVENTS,
        packers: int = 1,
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
        self._next_index = 0
        self._packers = packers
        self._pool = ThreadPoolExecutor(packers) if packers > 1 else None
        self._packing: deque[Future[list[_Packed]]] = deque()
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._summary: TraceSummary | None = None
        self._path: Path | None = None
        self._file: BinaryIO
        if isinstance(destination, Path):
            self._path = destination
            self._partial = destination.with_name(destination.name + ".partial")
            try:
                self._file = self._partial.open("wb")
            except OSError as error:
                raise TraceError(f"{self._partial} cannot be written: {error.strerror}") from error
        else:
            self._file = destination
        try:
            self._write(preamble(version_of(header)))
            self._write(frame(TAG_HEADER, body))
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exception_type is None and self._summary is None:
                self.close()
        finally:
            if self._summary is None:
                self.discard()

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
        """Add events, one column each; a column may be one value for all of them.

        ``a`` and ``b`` may be uint64 or int64; their bits are kept.
        """
        kinds = np.atleast_1d(np.asarray(kind))
        columns: list[Any] = [
            np.broadcast_to(np.asarray(value), kinds.shape)
            for value in (vcpu, flags, aux, insns, a, b)
        ]
        self.append_block(Block(0, kinds, *columns))

    def append_rows(self, rows: Sequence[tuple[int, int, int, int, int, int]]) -> None:
        """Add events as rows of (kind, vcpu, flags, aux, a, b), ``a`` and ``b`` unsigned."""
        if rows:
            kind, vcpu, flags, aux, a, b = zip(*rows, strict=True)
            self.append(
                kind=kind,
                vcpu=vcpu,
                flags=flags,
                aux=aux,
                a=np.array(a, np.uint64),
                b=np.array(b, np.uint64),
            )

    def append_block(self, block: Block, *, is_given: bool = False) -> None:
        """Add a copy of the events of a block; its ``first_event_index`` is ignored.

        Arrays that are given nobody may change any more: they are not copied.
        """
        if len({len(column) for column in block[1:]}) != 1:
            raise ValueError("the columns of a block differ in length")
        start = 0
        while start < block.event_count:  # copied in parts, whose memory is used again
            stop = min(block.event_count, start + self._block_events - self._pending_count)
            part = block.part(start, stop)
            self._pending.append(part if is_given and _has_types(part) else part.copied())
            self._pending_count += stop - start
            if self._pending_count == self._block_events:
                self._write_block(self._take_pending())
            start = stop

    def close(self, recorded: Mapping[str, int] | None = None) -> TraceSummary:
        """Write the pending events and the closing index; answers the summary.

        ``recorded`` is what the capture tool itself counted, kept for later checks.
        """
        if self._pending_count:
            self._write_block(self._take_pending())
        self._write_all_but(0)
        self._rules.finish(offset=self._size_bytes)
        body = self._totals.pack_index(recorded or {}, self._sha256.digest())
        index = frame(TAG_INDEX, body)
        self._write(index)
        self._write(trailer(len(index)))
        if self._pool is not None:
            self._pool.shutdown()
        if self._path:
            with self._naming_errors():
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
        """Give up, and remove the file if the writer made it."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._path:
            with suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)

    def _take_pending(self) -> Block:
        blocks, self._pending, self._pending_count = self._pending, [], 0
        return join_blocks(blocks)

    def _write_block(self, block: Block) -> None:
        block = block._replace(first_event_index=self._next_index)
        self._next_index += block.event_count
        if self._pool is None:
            self._write_packed(_packed(block, self._level))
            return
        self._packing.append(self._pool.submit(_packed, block, self._level))
        self._write_all_but(self._packers)

    def _write_all_but(self, count: int) -> None:
        """Write what is packed, in order, until so many blocks are left."""
        while len(self._packing) > count:
            self._write_packed(self._packing.popleft().result())

    def _write_packed(self, parts: list[_Packed]) -> None:
        for block, places, body in parts:
            self._rules.begin_block(places, self._size_bytes)
            self._rules.check(block, places)
            counts = ((kind, len(events)) for kind, events in places.items())
            self._totals.count_block(counts, self._size_bytes)
            self._totals.add_instructions(block)
            self._write(frame(TAG_BLOCK, body))

    def _write(self, data: bytes) -> None:
        with self._naming_errors():
            self._file.write(data)
        self._sha256.update(data)
        self._size_bytes += len(data)

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TraceError(
                f"{self._path or 'the trace'} cannot be written: {error.strerror}"
            ) from error


def _has_types(block: Block) -> bool:
    columns: tuple[Any, ...] = block[1:]
    return all(column.dtype == kind for column, kind in zip(columns, COLUMN_TYPES, strict=True))


class _Packed(NamedTuple):
    """A block, where its events of each kind stand, and the body of its frame."""

    block: Block
    places: dict[int, Any]
    body: bytes


def _packed(block: Block, level: int) -> list[_Packed]:
    """The block packed, or its halves where a reader could not hold it."""
    streams = take_apart(block)
    if not streams.is_too_much:
        return [_Packed(block, streams.places, streams.packed(level))]
    middle = block.event_count // 2
    halves = (block.part(0, middle), block.part(middle, block.event_count))
    return [packed for half in halves for packed in _packed(half, level)]

"""Reads a trace as a stream of blocks, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from refault.errors import TraceCorrupt, TraceError, TraceTruncated
from refault.trace.contents import Block, TraceHeader, TraceSummary
from refault.trace.decoder import TraceDecoder
from refault.trace.format import FRAME_PREFIX, MAX_INDEX_BYTES, TRAILER, TRAILER_MAGIC
from refault.trace.totals import Index, read_index

CHUNK_BYTES: Final = 1 << 18
_WRONG_INDEX: Final = "the closing index is wrong about where blocks begin"


class TraceReader:
    """A trace opened for one pass over its blocks, or those from some event on; a context manager.

    The header is read at once. ``source`` is a path, whose file is closed at the end, or a binary
    file at its start, which stays open. With ``allow_truncated`` a file that ends early is read up
    to its last whole block, and ``truncated`` says so; what is read is still checked.

    Raises:
        TraceError: at any invalid byte.
    """

    def __init__(self, source: Path | BinaryIO, *, allow_truncated: bool = False) -> None:
        self.name = str(source if isinstance(source, Path) else getattr(source, "name", "trace"))
        self._allow_truncated = allow_truncated
        self._decoder = TraceDecoder()
        self._summary: TraceSummary | None = None
        self._started = False
        self._owned = isinstance(source, Path)
        self._end = 0
        try:
            self._file = source.open("rb") if isinstance(source, Path) else source
        except OSError as error:
            raise TraceError(f"{source} cannot be opened: {error.strerror}") from error
        try:
            self.size_bytes = self._measure()
            self._first_blocks = self._read_header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if the reader opened it; a second call does nothing."""
        if self._owned:
            self._file.close()

    @property
    def header(self) -> TraceHeader:
        """What holds for the whole trace."""
        if self._decoder.header is None:
            raise AssertionError("the constructor reads the header")
        return self._decoder.header

    @property
    def read_bytes(self) -> int:
        """How many of ``size_bytes`` were read: for progress bars."""
        return self._decoder.size_bytes

    @property
    def framed_digest(self) -> str:
        """SHA-256 (hex) of the trace up to the end of the last block that was yielded."""
        return self._decoder.framed_digest

    @property
    def summary(self) -> TraceSummary:
        """The summary of the trace.

        Raises:
            TraceError: ``blocks()`` was not exhausted yet.
        """
        if self._summary is None:
            raise TraceError(f"{self.name} was not read to its end yet; exhaust blocks() first")
        return self._summary

    @property
    def truncated(self) -> bool:
        """Whether the file ended before its closing index; known after the last block."""
        return self.summary.truncated

    def blocks(self, first_event: int = 0) -> Iterator[Block]:
        """Every block in order, from the one with ``first_event`` on; may be called once.

        If the file has a closing index, the bytes before that block are hashed but not decoded,
        and the summary is the same. Without an index, all blocks come, from the first on.

        Raises:
            TraceError: a byte of the trace is invalid, or this was called before.
        """
        if self._started:
            raise TraceError(f"{self.name} is read in one pass; open it again for another")
        self._started = True
        if first_event and (index := self._index()) is not None:
            self._seek(index, index.block_of(first_event))
        else:
            yield from self._first_blocks
        while data := self._file.read(CHUNK_BYTES):
            yield from self._decoder.feed(data)
        self._summary = self._decoder.finish(allow_truncated=self._allow_truncated)

    def _index(self) -> Index | None:
        """The closing index, if the file is seekable and ends with one."""
        if self.size_bytes < 2 * TRAILER.size:
            return None
        here = self._file.tell()
        try:
            self._file.seek(self._end - TRAILER.size)
            magic, frame_bytes, _ = TRAILER.unpack(self._file.read(TRAILER.size))
            body_bytes = frame_bytes - FRAME_PREFIX.size
            if magic != TRAILER_MAGIC or not 0 < body_bytes <= MAX_INDEX_BYTES:
                return None
            offset = self.size_bytes - TRAILER.size - frame_bytes
            self._file.seek(self._end - TRAILER.size - body_bytes)
            index = read_index(self._file.read(body_bytes), offset)
        except (TraceError, OSError, struct.error):
            return None  # decoding finds what is wrong, and where
        finally:
            self._file.seek(here)
        return index if index.blocks else None

    def _seek(self, index: Index, block: int) -> None:
        """Start again at that block; the bytes before it are only hashed."""
        self._decoder = TraceDecoder()
        self._file.seek(self._end - self.size_bytes)
        first, target = index.blocks[0][0], index.blocks[block][0]
        for _ in self._decoder.feed(self._file.read(first)):
            raise TraceCorrupt(_WRONG_INDEX, offset=first)
        if self._decoder.header is None:
            raise TraceCorrupt(_WRONG_INDEX, offset=first)
        left = target - first
        while left:
            data = self._file.read(min(CHUNK_BYTES, left))
            if not data:
                raise TraceTruncated("the file became shorter", offset=target - left)
            self._decoder.pass_over(data)
            left -= len(data)
        self._decoder.begin_at(index, block)

    def _read_header(self) -> Iterator[Block]:
        """Feed chunks until the header is complete; answers the blocks they hold beyond it."""
        while self._decoder.header is None:
            data = self._file.read(CHUNK_BYTES)
            if not data:
                self._decoder.finish()
            blocks = self._decoder.feed(data)
            first = next(blocks, None)
            if first is not None:
                return _chain(first, blocks)
        return iter(())

    def _measure(self) -> int:
        if not self._file.seekable():
            return 0
        here = self._file.tell()
        self._end = self._file.seek(0, os.SEEK_END)
        self._file.seek(here)
        return self._end - here


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def trace_digest(path: Path) -> str:
    """The SHA-256 of a file in hex: the name of the trace in it, whether or not it is valid."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

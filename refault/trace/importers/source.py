"""Reads a foreign file, compressed or not, and reports progress."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import zstandard

from refault.errors import ImportFailed, TraceCorrupt, TraceTooLarge

# The compressions that can be read, each with its first bytes.
PACKINGS: Final = {
    "zstd": b"\x28\xb5\x2f\xfd",
    "gzip": b"\x1f\x8b\x08",
    "xz": b"\xfd7zXZ\0",
    "bzip2": b"BZh",
}
MAX_WINDOW_BYTES: Final = 128 << 20
LZMA_MEMORY_BYTES: Final = 256 << 20  # what the highest level of xz needs is 65 MiB
MAX_LINE_BYTES: Final = 1 << 16
# One KiB of zstd or gzip decompresses to 32 MiB at most, so a bomb is read in small chunks; one of
# bzip2 may be a GiB, which is taken in pieces.
COMPRESSED_CHUNK_BYTES: Final = 1 << 10
PIECE_BYTES: Final = 1 << 20
PLAIN_CHUNK_BYTES: Final = 1 << 18


class Source:
    """The content of a file, by size or in lines; ``path`` is for messages."""

    def __init__(self, path: Path, content: Iterator[bytes]) -> None:
        self.path = path
        self._content = content
        self._pending = bytearray()

    def read_exactly(self, size: int) -> bytes:
        """``size`` bytes, or fewer only where the file ends."""
        while len(self._pending) < size:
            data = next(self._content, b"")
            if not data:
                break
            self._pending += data
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken

    def pieces(self) -> Iterator[bytes]:
        """The content from here on, in pieces of bounded size."""
        if self._pending:
            yield bytes(self._pending)
            self._pending.clear()
        yield from self._content

    def lines(self) -> Iterator[bytes]:
        """Every line without its line end.

        Raises:
            ImportFailed: a line is over its bound, or the last one has no line end.
        """
        count = 0
        rest = b""
        for data in self._content:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line
                count += 1
            if len(rest) > MAX_LINE_BYTES:
                raise ImportFailed(
                    f"{self.path}: line {count} is longer than {MAX_LINE_BYTES} bytes"
                )
        if rest:
            raise ImportFailed(
                f"{self.path}: line {count} has no line end, so the file is cut; copy it again"
            )


@contextmanager
def open_source(path: Path, progress: Callable[[int], None] | None = None) -> Iterator[Source]:
    """Open a file for an importer; ``progress`` is told how many of its bytes were read.

    Raises:
        ImportFailed: it cannot be opened, or is a pipe.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportFailed(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        try:
            first = file.read(max(map(len, PACKINGS.values())))
            file.seek(0)
        except OSError as error:
            raise ImportFailed(
                f"{path} cannot be read: {error.strerror or error}; import a file on disk, or "
                "standard input as -"
            ) from error
        packing = next((name for name, magic in PACKINGS.items() if first.startswith(magic)), "")
        chunk_bytes = COMPRESSED_CHUNK_BYTES if packing else PLAIN_CHUNK_BYTES
        chunks = _chunks(file, chunk_bytes, progress)
        yield Source(path, _decompress(path, packing, chunks) if packing else chunks)


@contextmanager
def broken_rules_named(path: Path) -> Iterator[None]:
    """Name the foreign file in the error about an event that no trace can hold."""
    try:
        yield
    except (TraceCorrupt, TraceTooLarge) as error:
        reason = str(error).removeprefix(f"byte {error.offset}: ")  # of the trace being written
        raise ImportFailed(f"{path}: {reason}") from error


def _chunks(
    file: BinaryIO, chunk_bytes: int, progress: Callable[[int], None] | None
) -> Iterator[bytes]:
    while data := file.read(chunk_bytes):
        if progress is not None:
            progress(file.tell())
        yield data


def _decompress(path: Path, packing: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a file of one or several compressed streams, in chunks."""
    stream = _stream(packing)
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if stream.eof:
                    stream = _stream(packing)
                yield from filter(None, _pieces(stream, data))
                data = stream.unused_data if stream.eof else b""
    except (zlib.error, lzma.LZMAError, OSError, EOFError, zstandard.ZstdError) as error:
        raise ImportFailed(
            f"{path}: its {packing} stream is damaged ({error}); copy it again"
        ) from error
    if not stream.eof:
        raise ImportFailed(f"{path}: its {packing} stream is cut off; copy it again")


def _pieces(stream: Any, data: bytes) -> Iterator[bytes]:
    if not isinstance(stream, (bz2.BZ2Decompressor, lzma.LZMADecompressor)):
        yield stream.decompress(data)
        return
    yield stream.decompress(data, PIECE_BYTES)
    while not (stream.eof or stream.needs_input):
        yield stream.decompress(b"", PIECE_BYTES)


def _stream(packing: str) -> Any:
    """A new decompressor, of bounded memory."""
    match packing:
        case "gzip":
            return zlib.decompressobj(wbits=31)
        case "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_BYTES)
        case "bzip2":
            return bz2.BZ2Decompressor()
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()

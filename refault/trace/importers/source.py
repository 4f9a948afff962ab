"""A foreign file being read, compressed with zstd or not, with its progress told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from refault.errors import ImportFailed, TraceCorrupt, TraceTooLarge

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
MAX_WINDOW_BYTES: Final = 128 << 20
MAX_LINE_BYTES: Final = 1 << 16
# One KiB of zstd can stand for 32 MiB at most, so a bomb is met in small bites.
COMPRESSED_CHUNK_BYTES: Final = 1 << 10
PLAIN_CHUNK_BYTES: Final = 1 << 18


class Source:
    """The content of a file, in bites or lines; ``path`` is for messages."""

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

    def lines(self) -> Iterator[bytes]:
        """Every line without its line end.

        Raises:
            ImportFailed: a line is over its bound, or the last one is not whole.
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
    """Opens a file for an importer; ``progress`` is told how many of its bytes were read.

    Raises:
        ImportFailed: it cannot be opened, or is a pipe.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImportFailed(f"{path} cannot be opened: {error.strerror}") from error
    with file:
        try:
            compressed = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
            file.seek(0)
        except OSError as error:
            raise ImportFailed(
                f"{path} cannot be read: {error.strerror or error}; import from a file on disk"
            ) from error
        chunk_bytes = COMPRESSED_CHUNK_BYTES if compressed else PLAIN_CHUNK_BYTES
        chunks = _chunks(file, chunk_bytes, progress)
        yield Source(path, _decompress(path, chunks) if compressed else chunks)


@contextmanager
def broken_rules_named(path: Path) -> Iterator[None]:
    """Says of an event that no trace can hold which foreign file it comes from."""
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


def _decompress(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    zstd = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    frame = zstd.decompressobj()
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if frame.eof:
                    frame = zstd.decompressobj()
                content = frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
                if content:
                    yield content
    except zstandard.ZstdError as error:
        raise ImportFailed(
            f"{path}: its zstd stream is damaged ({error}); copy it again"
        ) from error
    if not frame.eof:
        raise ImportFailed(f"{path}: its zstd stream is cut off; copy it again")

"""A file read at any place, with bounds: no size in it makes us take more memory than it may."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO, Final, Literal

import zstandard

from refault.errors import ImportFailed
from refault.trace.importers.source import MAX_WINDOW_BYTES

Order = Literal["little", "big"]
MAX_STRING_BYTES: Final = 4096
MAX_PIECE_BYTES: Final = 64 << 20


class Cursor:
    """Numbers, strings and pieces from one place on; every error names file, byte and what."""

    def __init__(
        self, path: Path, file: BinaryIO, *, order: Order = "little", base: int = 0
    ) -> None:
        self.path = path
        self.order: Order = order
        self._file = file
        self._base = base  # of messages: where a decompressed section lies in the file
        self._size = file.seek(0, 2)
        file.seek(0)

    @property
    def place(self) -> int:
        """The byte that is read next."""
        return self._file.tell()

    @property
    def size(self) -> int:
        """All bytes there are."""
        return self._size

    def seek(self, place: int, what: str) -> None:
        """Go on at another byte.

        Raises:
            ImportFailed: the file has no such byte.
        """
        if not 0 <= place <= self._size:
            raise self.refuse(f"{what} is said to be at byte {place} of {self._size}")
        self._file.seek(place)

    def take(self, size: int, what: str, limit: int = MAX_PIECE_BYTES) -> bytes:
        """The next ``size`` bytes.

        Raises:
            ImportFailed: they are more than the limit, or the file ends before.
        """
        if size > limit:
            raise self.refuse(f"{what} is said to have {size} bytes, over the bound of {limit}")
        if size > self._size - self.place:
            raise self.refuse(f"the file ends inside {what}")
        return self._file.read(size)

    def number(self, size: int, what: str) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(size, what), self.order)

    def string(self, what: str) -> str:
        """The bytes before the next NUL, as text; the NUL is taken too."""
        start = self.place
        data = self._file.read(MAX_STRING_BYTES)
        end = data.find(b"\0")
        if end < 0:
            raise self.refuse(f"{what} has no end")
        self._file.seek(start + end + 1)
        return data[:end].decode("utf-8", "replace")

    def skip(self, size: int, what: str) -> None:
        """Pass over so many bytes."""
        if size > self._size - self.place:
            raise self.refuse(f"the file ends inside {what}")
        self._file.seek(size, 1)

    def refuse(self, why: str) -> ImportFailed:
        """An error that names the file and where in it."""
        return ImportFailed(
            f"{self.path}: byte {self._base + self.place}: {why}; the trace.dat is damaged, copy "
            "or record it again"
        )


def unpack(
    cursor: Cursor,
    compression: str,
    data: bytes,
    raw_size: int,
    what: str,
    limit: int = MAX_PIECE_BYTES,
) -> bytes:
    """A compressed piece, which must have as many bytes as it says, and at most ``limit``.

    Raises:
        ImportFailed: it is damaged, larger than it says, or compressed in an unknown way.
    """
    if raw_size > limit:
        raise cursor.refuse(f"{what} is said to have {raw_size} bytes when decompressed")
    try:
        match compression:
            case "zstd":
                stream = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
                with stream.stream_reader(data) as reader:
                    unpacked = reader.read(raw_size + 1)
            case "zlib":
                unpacked = zlib.decompressobj().decompress(data, raw_size + 1)
            case _:
                raise cursor.refuse(
                    f"{what} is compressed by {compression!r:.40}; zstd and zlib are known"
                )
    except (zlib.error, zstandard.ZstdError) as error:
        raise cursor.refuse(f"{what} cannot be decompressed ({error})") from error
    if len(unpacked) != raw_size:
        raise cursor.refuse(f"{what} does not have the {raw_size} bytes it says")
    return unpacked

"""The bounds of one reading, each checked before the work that it bounds."""

from __future__ import annotations

import dataclasses
import zlib

from refault.errors import SeriesError

BYTES_MAX = 64 * 1024 * 1024
"""Bytes of all files together, and of what is unpacked from them."""

LINES_MAX = 500_000
"""Lines of all files and of what is unpacked: short lines cost as much as long ones."""

MAILS_MAX = 1_000
PARTS_MAX = 5_000
DEPTH_MAX = 20

_GZIP = 16 + zlib.MAX_WBITS
_PIECE = 1 << 12
_STEP = 1 << 16
_MEMBER = 1 << 10  # what a member of gzip takes at least, though it be empty


@dataclasses.dataclass(slots=True)
class Budget:
    """The remaining budget of one reading."""

    mails: int = MAILS_MAX
    parts: int = PARTS_MAX
    lines: int = LINES_MAX
    unpacked: int = BYTES_MAX

    def take_lines(self, data: bytes) -> None:
        """Count lines before a text is cut into them; raises SeriesError past the bound."""
        self.lines -= data.count(b"\n")
        if self.lines < 0:
            raise SeriesError(f"more than {LINES_MAX:,} lines of mail: read one series at a time")

    def take_mail(self) -> None:
        """Count a mail; raises SeriesError past the bound."""
        self.mails -= 1
        if self.mails < 0:
            raise SeriesError(f"more than {MAILS_MAX:,} mails in one file: split it")

    def take_part(self) -> None:
        """Count a part of a mail; raises SeriesError past the bound."""
        self.parts -= 1
        if self.parts < 0:
            raise SeriesError(f"the mails have more than {PARTS_MAX:,} parts: send one series")

    def gunzip(self, data: bytes) -> bytes:
        """What gzip packed, member after member.

        Raises:
            SeriesError: it is damaged, cut off, or larger than the bound.
        """
        found = bytearray()
        unpacker = zlib.decompressobj(_GZIP)
        # In pieces: what is left over of the input is a copy each time.
        for at in range(0, len(data), _PIECE):
            rest = data[at : at + _PIECE]
            while rest:
                if unpacker.eof:
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    unpacker = zlib.decompressobj(_GZIP)
                    self._take_unpacked(_MEMBER)
                try:
                    piece = unpacker.decompress(rest, _STEP)
                except zlib.error as error:
                    raise SeriesError("gzip: damaged; unpack it by hand to see where") from error
                self._take_unpacked(len(piece))
                found += piece
                rest = unpacker.unused_data or unpacker.unconsumed_tail
        if not unpacker.eof:
            raise SeriesError("gzip: the file ends too early; copy it again")
        return bytes(found)

    def _take_unpacked(self, size: int) -> None:
        self.unpacked -= size
        if self.unpacked < 0:
            raise SeriesError(f"gzip: more than {BYTES_MAX:,} bytes when unpacked")

"""Cuts a stream of bytes, in chunks of any size, into checked frames.

The format is drawn in ``format.py``. At most one frame is held, and only the bytes of it that
arrived: a declared size is checked before memory is used for it. Where the bytes are in a file
anyway, a block is not held at all, but read back once it is whole.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from refault.errors import (
    NotATrace,
    TraceCorrupt,
    TraceTooLarge,
    TraceTruncated,
    UnsupportedTraceVersion,
)
from refault.trace.format import (
    BODY_LIMITS,
    FRAME_PREFIX,
    MAGIC,
    PREAMBLE,
    SEALED_BYTES,
    TAG_BLOCK,
    TAG_HEADER,
    TAG_INDEX,
    TRAILER,
    TRAILER_MAGIC,
    VERSION,
    VERSIONS,
)

AGAIN: Final = "import or upload the trace again"

# (offset, count) → those bytes of the file, all of which were fed before.
ReadBack = Callable[[int, int], bytes]


class Frame(NamedTuple):
    """One whole frame. ``offset`` is the byte of the file at which its prefix begins."""

    tag: bytes
    offset: int
    body_bytes: int
    held: memoryview | ReadBack
    sha256_before: bytes  # of all bytes of the file up to ``offset``; empty unless tag is INDX

    @property
    def body(self) -> bytes | memoryview:
        """The bytes of the body, read back if they were not held."""
        if isinstance(self.held, memoryview):
            return self.held
        return self.held(self.offset + FRAME_PREFIX.size, self.body_bytes)


def preamble(version: int = VERSION) -> bytes:
    """The first 16 bytes of every trace of that version."""
    sealed = PREAMBLE.pack(MAGIC, version, 0, 0)[:SEALED_BYTES]
    return sealed + zlib.crc32(sealed).to_bytes(4, "little")


def frame(tag: bytes, body: bytes) -> bytes:
    """A frame of the given body."""
    sealed = FRAME_PREFIX.pack(tag, len(body), zlib.crc32(body), 0)[:SEALED_BYTES]
    return sealed + zlib.crc32(sealed).to_bytes(4, "little") + body


def trailer(index_frame_bytes: int) -> bytes:
    """The last 16 bytes of every whole trace."""
    sealed = TRAILER.pack(TRAILER_MAGIC, index_frame_bytes, 0)[:SEALED_BYTES]
    return sealed + zlib.crc32(sealed).to_bytes(4, "little")


class FrameParser:
    """Bytes in, frames out. Raises TraceError at the first invalid byte.

    ``read_back`` reads bytes that were fed; with it, blocks are not held.
    """

    def __init__(self, read_back: ReadBack | None = None) -> None:
        self.read_back = read_back
        self.version = VERSION  # of the format, once the preamble was read
        self.size_bytes = 0  # taken in so far
        self.complete = False  # the trailer came
        self._sha256 = hashlib.sha256()
        self._pending = bytearray()
        self._offset = 0  # of the first pending byte
        self._started = False
        self._prefix: tuple[bytes, int, int] | None = None  # tag, body size, body crc32
        self._passing: _Passing | None = None
        self._first_tag_seen = False
        self._index_frame_bytes = 0

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes taken in, in hex."""
        sha256 = self._sha256.copy()
        sha256.update(self._pending)
        return sha256.hexdigest()

    @property
    def framed_digest(self) -> str:
        """SHA-256 of all bytes up to the end of the latest frame, in hex."""
        return self._sha256.hexdigest()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """The frames that ``data`` completes; exhaust the iterator before feeding more."""
        view = memoryview(data)
        while view:
            if self.complete:
                raise TraceCorrupt(
                    "bytes follow the end of the trace; cut them off",
                    offset=self.size_bytes,
                )
            if self._passing is not None:
                part, view = view[: self._passing.missing], view[self._passing.missing :]
                self.size_bytes += len(part)
                yield from self._pass(self._passing, part)
                continue
            missing = self._wanted() - len(self._pending)
            part, view = view[:missing], view[missing:]
            self._pending += part
            self.size_bytes += len(part)
            if not self._started:
                self._refuse_other_files()
            if len(self._pending) == self._wanted():
                yield from self._advance()

    def pass_over(self, data: bytes | memoryview) -> None:
        """Hash the bytes of whole frames without parsing them, for seeking.

        The closing index is still checked against their SHA-256.
        """
        self._sha256.update(data)
        self.size_bytes += len(data)
        self._offset += len(data)

    def finish(self) -> None:
        """Says whether the file ended where it should.

        Raises:
            NotATrace: nothing came, or too little to be a trace.
            TraceTruncated: the trailer is missing.
        """
        if not self._started:
            raise NotATrace(
                f"the file has {self.size_bytes} bytes, too few to be a refault trace", offset=0
            )
        if not self.complete:
            raise TraceTruncated(
                "the file ends before the closing index of the trace; "
                "copy it again; `refault replay` uses the whole blocks of what is there",
                offset=self.size_bytes,
            )

    def _wanted(self) -> int:
        """How long ``_pending`` must be to advance; never more than the bound of the frame."""
        if not self._started or self._prefix is None:
            return PREAMBLE.size  # preamble, prefix and trailer have one size
        return FRAME_PREFIX.size + self._prefix[1]

    def _advance(self) -> Iterator[Frame]:
        if not self._started:
            self._read_preamble()
        elif self._index_frame_bytes:
            self._read_trailer()
        elif self._prefix is None:
            self._read_prefix()
        else:
            yield self._take_frame()

    def _consume(self) -> None:
        self._sha256.update(self._pending)
        self._offset += len(self._pending)
        self._pending = bytearray()

    def _refuse_other_files(self) -> None:
        head = bytes(self._pending[: len(MAGIC)])
        if not MAGIC.startswith(head):
            raise NotATrace(
                f"the file begins with {head!r}, so it is not a refault trace; `refault import` "
                "makes one from a ptt capture or an operation vector",
                offset=0,
            )

    def _read_preamble(self) -> None:
        _, version, zero, crc = PREAMBLE.unpack(self._pending)
        self._check_seal(crc, "first 16 bytes")
        if version not in VERSIONS or zero:
            raise UnsupportedTraceVersion(
                f"the trace has format version {version}.{zero}, this program reads "
                f"{VERSIONS[0]}.0 to {VERSION}.0; use a newer refault or import the capture again",
                offset=len(MAGIC),
            )
        self.version = version
        self._started = True
        self._consume()

    def _read_prefix(self) -> None:
        tag, size, body_crc, crc = FRAME_PREFIX.unpack(self._pending)
        self._check_seal(crc, "frame prefix")
        limit = BODY_LIMITS.get(tag)
        if limit is None or (tag == TAG_HEADER) == self._first_tag_seen:
            expected = "a header" if not self._first_tag_seen else "a block or the closing index"
            raise TraceCorrupt(f"{tag!r} where {expected} must be", offset=self._offset)
        if size > limit:
            raise TraceTooLarge(
                f"frame {tag.decode()} declares {size} bytes, over the bound of {limit}",
                offset=self._offset,
            )
        if size == 0:
            raise TraceCorrupt(f"frame {tag.decode()} declares no bytes", offset=self._offset)
        self._first_tag_seen = True
        self._prefix = (tag, size, body_crc)
        if self.read_back is not None and tag == TAG_BLOCK:
            self._passing = _Passing(self._offset, size)
            self._consume()

    def _pass(self, passing: _Passing, part: memoryview) -> Iterator[Frame]:
        """Check bytes of a block that is not held."""
        passing.crc = zlib.crc32(part, passing.crc)
        passing.missing -= len(part)
        self._sha256.update(part)
        self._offset += len(part)
        if passing.missing:
            return
        if self._prefix is None or self.read_back is None:
            raise AssertionError
        tag, size, _ = self._prefix
        self._check_body(passing.crc, passing.offset)
        self._prefix = self._passing = None
        yield Frame(tag, passing.offset, size, self.read_back, b"")

    def _check_body(self, crc: int, offset: int) -> None:
        if self._prefix is None:
            raise AssertionError
        tag, size, stated = self._prefix
        if crc != stated:
            raise TraceCorrupt(
                f"the checksum of frame {tag.decode()} does not match its {size} bytes; {AGAIN}",
                offset=offset,
            )

    def _take_frame(self) -> Frame:
        if self._prefix is None:
            raise AssertionError
        tag, size, _ = self._prefix
        body = memoryview(self._pending)[FRAME_PREFIX.size :]
        self._check_body(zlib.crc32(body), self._offset)
        sha256_before = b""
        if tag == TAG_INDEX:
            sha256_before = self._sha256.digest()
            self._index_frame_bytes = len(self._pending)
        taken = Frame(tag, self._offset, size, body, sha256_before)
        self._prefix = None
        self._consume()
        return taken

    def _read_trailer(self) -> None:
        magic, size, crc = TRAILER.unpack(self._pending)
        self._check_seal(crc, "last 16 bytes")
        if magic != TRAILER_MAGIC or size != self._index_frame_bytes:
            raise TraceCorrupt(
                "the last 16 bytes contradict the closing index", offset=self._offset
            )
        self._consume()
        self.complete = True

    def _check_seal(self, crc: int, what: str) -> None:
        if zlib.crc32(memoryview(self._pending)[:SEALED_BYTES]) != crc:
            raise TraceCorrupt(
                f"the checksum of the {what} does not match; {AGAIN}", offset=self._offset
            )


class _Passing:
    """A block that is checked without being held."""

    def __init__(self, offset: int, missing: int) -> None:
        self.offset = offset
        self.missing = missing
        self.crc = 0

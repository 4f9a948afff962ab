"""Unfinished uploads: of one request, or resumable.

::

    FOLDER/
    ├── incoming/           single-request uploads; removed with their process
    └── partial/            resumable uploads, named by their id in the database
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from db.errors import UploadBusy, UploadGone

# An upload that has not been written to for this long belongs to a dead process.
ABANDONED_AFTER_SECONDS = 24 * 3600


class IncomingBlob:
    """A blob being written. Made by :meth:`~db.blobs.store.BlobStore.receive`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size_bytes = 0
        self.kept_as: str | None = None

    def write(self, chunk: bytes) -> None:
        """Appends ``chunk``."""
        self._stream.write(chunk)
        self.size_bytes += len(chunk)

    def read(self, start: int, size_bytes: int) -> bytes:
        """Bytes that were written, from ``start`` on; any thread may ask."""
        return _read(self._stream, start, size_bytes)

    def sync(self) -> None:
        """Flushes everything written to disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def keep(self, digest: str) -> None:
        """Says that the blob is wanted, and its sha256: leaving the ``with`` block stores it."""
        self.kept_as = digest


class Partial:
    """The first bytes of an upload that may be resumed; held by one request at a time."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream

    @property
    def size_bytes(self) -> int:
        """How many bytes are in the file, safe or not."""
        return os.fstat(self._stream.fileno()).st_size

    def cut(self, size_bytes: int) -> None:
        """Forgets what stands behind byte ``size_bytes`` and goes on from there.

        Raises :class:`~db.errors.UploadGone` if the file is shorter: bytes that were safe
        are missing.
        """
        if self.size_bytes < size_bytes:
            message = f"byte {self.size_bytes} and those after it were lost: start over"
            raise UploadGone(message)
        self._stream.truncate(size_bytes)
        self._stream.seek(size_bytes)

    def write(self, chunk: bytes) -> None:
        """Appends ``chunk``."""
        self._stream.write(chunk)

    def read(self, start: int, size_bytes: int) -> bytes:
        """Bytes that were written, from ``start`` on; any thread may ask."""
        return _read(self._stream, start, size_bytes)

    def sync(self) -> None:
        """Flushes everything written to disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def chunks(self, start: int, stop: int, size_bytes: int = 1 << 18) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop``, a few at a time."""
        self._stream.flush()
        with self.path.open("rb") as stream:
            stream.seek(start)
            while start < stop and (chunk := stream.read(min(size_bytes, stop - start))):
                start += len(chunk)
                yield chunk


class Incoming:
    """Where a store keeps what is not yet whole."""

    def __init__(self, folder: Path) -> None:
        self._whole = folder / "incoming"
        self._partial = folder / "partial"

    @contextlib.contextmanager
    def write(self) -> Iterator[tuple[Path, IncomingBlob]]:
        """A new file, gone when the block is left unless the store took it."""
        self._whole.mkdir(exist_ok=True)
        path = self._whole / secrets.token_hex(16)
        try:
            with path.open("x+b") as stream:
                yield path, IncomingBlob(stream)
        finally:
            path.unlink(missing_ok=True)

    def create_partial(self, upload: uuid.UUID) -> None:
        """Makes the file of an upload that has no bytes yet."""
        self._partial.mkdir(exist_ok=True)
        (self._partial / str(upload)).touch()
        sync_folder(self._partial)

    @contextlib.contextmanager
    def open_partial(self, upload: uuid.UUID) -> Iterator[Partial]:
        """The file of an upload, for this request alone.

        The lock is the kernel's: it ends with the process that holds it, however that ends.

        Raises:
            UploadBusy: another request writes to it.
            UploadGone: there is no such file.
        """
        path = self._partial / str(upload)
        try:
            stream = path.open("r+b")
        except FileNotFoundError:
            message = f"no bytes of upload {upload} are on this host: start over"
            raise UploadGone(message) from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another request is writing to upload {upload}: wait for it to end"
                raise UploadBusy(message) from None
            yield Partial(path, stream)

    def partials(self) -> list[uuid.UUID]:
        """The uploads of which there are bytes."""
        return [uuid.UUID(path.name) for path in self._partial.glob("*-*")]

    def has_partial(self, upload: uuid.UUID) -> bool:
        """Whether there is a file of the upload, were it empty."""
        return (self._partial / str(upload)).is_file()

    def partial_bytes(self, upload: uuid.UUID) -> int:
        """How many bytes of the upload are here, safe or not; -1 without a file."""
        try:
            return (self._partial / str(upload)).stat().st_size
        except FileNotFoundError:
            return -1

    def remove_partial(self, upload: uuid.UUID) -> bool:
        """Forgets the bytes of an upload; answers whether there were any."""
        path = self._partial / str(upload)
        was_there = path.exists()
        path.unlink(missing_ok=True)
        return was_there

    def sweep(self, older_than_seconds: float = ABANDONED_AFTER_SECONDS) -> int:
        """Removes one-request uploads whose process died; answers how many."""
        removed_count = 0
        oldest = time.time() - older_than_seconds
        for path in self._whole.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed_count += 1
        return removed_count


def _read(stream: BinaryIO, start: int, size_bytes: int) -> bytes:
    stream.flush()
    found = os.pread(stream.fileno(), size_bytes, start)
    if len(found) < size_bytes:
        # Not the sender's doing: what was written is not there any more.
        raise OSError(errno.EIO, f"bytes after byte {start + len(found)} were lost")
    return found


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

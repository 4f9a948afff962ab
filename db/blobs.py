"""Trace files by digest, in one folder.

::

    FOLDER/
    ├── incoming/           uploads under way; nothing here has a digest yet
    └── 3f/3fa9…            one file per blob, named by its sha256

A blob appears under its name in one rename, complete and on disk, or not at
all. Blobs are never changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from typing import TYPE_CHECKING, BinaryIO

from refault.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INCOMING = "incoming"
# An upload that has not been written to for this long belongs to a dead process.
ABANDONED_AFTER_SECONDS = 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}")


class IncomingBlob:
    """A blob being written; its digest grows with it. Made by :meth:`BlobStore.receive`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.kept = False

    def write(self, chunk: bytes) -> None:
        """Appends ``chunk``."""
        self._stream.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    @property
    def digest(self) -> str:
        """sha256 of everything written so far, as hex."""
        return self._hash.hexdigest()

    def keep(self) -> None:
        """Says that the blob is wanted: leaving the ``with`` block then stores it."""
        self.kept = True


class BlobStore:
    """Files named by their sha256 in one folder, shared by the API and the workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Workers may have the folder read-only, so only uploads make what is in it.
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def receive(self) -> Iterator[IncomingBlob]:
        """A place to write a blob of unknown digest.

        Leaving the block stores it if :meth:`IncomingBlob.keep` was called and
        removes every byte of it otherwise, also when the block raises.
        """
        (self.folder / INCOMING).mkdir(exist_ok=True)
        temporary = self.folder / INCOMING / secrets.token_hex(16)
        try:
            with temporary.open("xb") as stream:
                incoming = IncomingBlob(stream)
                yield incoming
                if incoming.kept:
                    stream.flush()
                    os.fsync(stream.fileno())
            if incoming.kept:
                target = self._path(incoming.digest)
                target.parent.mkdir(exist_ok=True)
                temporary.rename(target)
                _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Writes a few bytes and removes them; ``OSError`` says why that is not possible."""
        (self.folder / INCOMING).mkdir(exist_ok=True)
        probe = self.folder / INCOMING / secrets.token_hex(16)
        try:
            probe.write_bytes(b"refault")
        finally:
            probe.unlink(missing_ok=True)

    def exists(self, digest: str) -> bool:
        """Whether a blob of that digest is here."""
        return _DIGEST.fullmatch(digest) is not None and self._path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Where the blob is; raises :class:`~refault.errors.NotFound` if it is not."""
        if not self.exists(digest):
            message = f"no blob {digest} in {self.folder}: upload the trace again"
            raise NotFound(message)
        return self._path(digest)

    def delete(self, digest: str) -> bool:
        """Removes the blob; answers whether there was one."""
        if not self.exists(digest):
            return False
        self._path(digest).unlink(missing_ok=True)
        return True

    def sweep_incoming(self, older_than_seconds: float = ABANDONED_AFTER_SECONDS) -> int:
        """Removes uploads whose process died; answers how many."""
        removed_count = 0
        oldest = time.time() - older_than_seconds
        for path in (self.folder / INCOMING).glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed_count += 1
        return removed_count

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


def _sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

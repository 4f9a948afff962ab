"""Blobs in one folder, shared by the API and the workers.

::

    FOLDER/
    ├── incoming/ partial/  unfinished uploads, see ``incoming.py``
    └── 3f/3fa9…            one file per blob, named by its sha256

A blob appears under its name in one rename, after it is complete and flushed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from db.blobs.incoming import sync_folder
from db.blobs.store import BlobStore, is_digest, missing, verify


class FolderStore(BlobStore):
    """The default store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def put(self, path: Path, digest: str) -> None:
        """Renames the file, which is in a folder of the same file system."""
        target = self._path(digest)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        sync_folder(target.parent)

    def size_bytes(self, digest: str) -> int | None:
        """The size of the file."""
        if not is_digest(digest) or not self._path(digest).is_file():
            return None
        return self._path(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """The path of the blob, unchecked; raises :class:`~refault.errors.NotFound` if missing."""
        if not self.exists(digest):
            raise missing(digest)
        return self._path(digest)

    def fetch(self, digest: str) -> Path:
        """The file itself, read once to check it."""
        path = self.path(digest)
        verify(path, digest)
        return path

    def delete(self, digest: str) -> bool:
        """Removes the file."""
        if not self.exists(digest):
            return False
        self._path(digest).unlink(missing_ok=True)
        return True

    def kept(self) -> Iterator[tuple[str, float]]:
        """Digest and age of each, by the files' modification times."""
        now = time.time()
        for path in self.folder.glob("??/*"):
            if is_digest(path.name):
                with contextlib.suppress(FileNotFoundError):
                    yield path.name, now - path.stat().st_mtime

    def check(self) -> None:
        """Writes and removes a few bytes: permissions alone do not show a full disk."""
        with self.incoming.write() as (_, probe):
            probe.write(b"refault")
            probe.sync()

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest

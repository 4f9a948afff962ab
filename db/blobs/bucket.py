"""Blobs in an S3 bucket, or in any other store the library ``obstore`` knows.

::

    PREFIX/3f/3fa9…         one object per blob, in the bucket

    STAGING/                on each host
    ├── incoming/ partial/  unfinished uploads, see ``incoming.py``
    └── fetched/3fa9…       copies of blobs that were read here, least recently used removed first

An upload is staged here until it is complete and valid, then sent in parts; the bucket shows it
after the last part. A resumable upload must therefore always reach the same host.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from db.blobs.objects import Objects
from db.blobs.store import BlobStore, is_digest, missing, verify
from db.errors import BlobDamaged

FETCHED_BYTES_MAX = 64 * 1024**3


class BucketStore(BlobStore):
    """Blobs as objects."""

    def __init__(
        self, objects: Objects, staging: Path, *, fetched_bytes_max: int = FETCHED_BYTES_MAX
    ) -> None:
        super().__init__(staging)
        self.name = objects.name
        self._objects = objects
        self._fetched = staging / "fetched"
        self._fetched_bytes_max = fetched_bytes_max

    def put(self, path: Path, digest: str) -> None:
        """Sends the file in parts, then removes the staged one."""
        self._objects.send(path, _key(digest))
        path.unlink()

    def size_bytes(self, digest: str) -> int | None:
        """The size of the object."""
        if not is_digest(digest):
            return None
        try:
            return self._objects.size_bytes(_key(digest))
        except FileNotFoundError:
            return None

    def fetch(self, digest: str) -> Path:
        """A checked copy in the cache; a damaged one is fetched again, once."""
        if not is_digest(digest):
            raise missing(digest)
        copy = self._fetched / digest
        if copy.is_file():
            with contextlib.suppress(BlobDamaged):
                verify(copy, digest)
                os.utime(copy)
                return copy
        self._download(digest, copy)
        return copy

    def delete(self, digest: str) -> bool:
        """Removes the object and the copy of this host; other hosts never read theirs again."""
        was_there = self.exists(digest)
        if was_there:
            with contextlib.suppress(FileNotFoundError):
                self._objects.delete(_key(digest))
            (self._fetched / digest).unlink(missing_ok=True)
        return was_there

    def kept(self) -> Iterator[tuple[str, float]]:
        """Digest and age of each, by the bucket's times."""
        now = datetime.datetime.now(datetime.UTC)
        for key, stored_at in self._objects.list():
            digest = key.rpartition("/")[2]
            if is_digest(digest):
                yield digest, (now - stored_at).total_seconds()

    def check(self) -> None:
        """Checks that the bucket answers and the staging folder is writable."""
        next(self._objects.list(), None)
        if not os.access(self._fetched.parent, os.W_OK):
            message = f"{self._fetched.parent} cannot be written"
            raise OSError(message)

    def _download(self, digest: str, target: Path) -> None:
        self._fetched.mkdir(exist_ok=True)
        temporary = self._fetched / f".{secrets.token_hex(16)}"
        try:
            self._objects.receive(_key(digest), temporary, make_room=self._make_room)
            verify(temporary, digest)
            temporary.rename(target)
        except FileNotFoundError:
            raise missing(digest) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        """Removes least recently used copies until one of that size fits."""
        copies = sorted(
            ((path.stat().st_mtime, path.stat().st_size, path) for path in self._fetched.glob("*")),
            reverse=True,
        )
        kept_bytes = size_bytes
        for _, copy_bytes, path in copies:
            kept_bytes += copy_bytes
            if kept_bytes > self._fetched_bytes_max:
                path.unlink(missing_ok=True)


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"

"""Snapshots in the bucket that has the blobs."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path

from db.blobs.objects import Objects
from db.blobs.snapshots import INCOMING, Kept, SnapshotStore, parse

_PREFIX = "snapshots"


class BucketSnapshots(SnapshotStore):
    """Snapshots in the bucket; the folder has the copies this host is reading."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        super().__init__(folder)
        self._objects = objects

    def fetch(self, shard_id: uuid.UUID, seal: str) -> Path:
        """A copy of the object, which replaces an older copy."""
        path = self.path(shard_id, seal)
        (self.folder / INCOMING).mkdir(parents=True, exist_ok=True)
        temporary = self.folder / INCOMING / secrets.token_hex(16)
        path.unlink(missing_ok=True)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._objects.receive(f"{_PREFIX}/{path.name}", temporary)
                temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def kept(self) -> Iterator[Kept]:
        """The objects, then the copies of this host."""
        now = datetime.datetime.now(datetime.UTC)
        for key, stored_at in self._objects.list(_PREFIX):
            found = parse(key.rpartition("/")[2], (now - stored_at).total_seconds())
            if found is not None:
                yield found
        yield from super().kept()

    def _passing(self) -> Iterator[Path]:
        """Also removes the copies: each is read once, right after the download."""
        yield from super()._passing()
        yield from self.folder.glob("*.*")

    def _put(self, path: Path, name: str) -> None:
        self._objects.send(path, f"{_PREFIX}/{name}")

    def _delete(self, name: str) -> None:
        super()._delete(name)
        with contextlib.suppress(FileNotFoundError):
            self._objects.delete(f"{_PREFIX}/{name}")

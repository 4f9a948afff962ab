"""Snapshots where blobs are in a bucket: they go there too, so that any host goes on from them."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from db.blobs.objects import Objects
from refault.errors import Unavailable
from worker.snapshot_folder import INCOMING, SnapshotFolder, name_of, named

PREFIX = "snapshots"


class SnapshotBucket(SnapshotFolder):
    """``folder``, of this host alone, has those on their way, and those taken up here."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        super().__init__(folder)
        self._objects = objects

    def fetch(self, shard_id: uuid.UUID, digest: str) -> Path:
        """The file of that snapshot, brought here if it is not yet; unchecked.

        Raises Unavailable if the bucket cannot be reached.
        """
        path = super().fetch(shard_id, digest)
        if path.is_file():
            return path
        (self.folder / INCOMING).mkdir(parents=True, exist_ok=True)
        temporary = self.folder / INCOMING / secrets.token_hex(16)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._objects.receive(_key(shard_id, digest), temporary)
                temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def write(self, shard_id: uuid.UUID, write: Callable[[BinaryIO], str]) -> str:
        """As in a folder; Unavailable, and nothing is left, if the bucket does not take it."""
        digest = super().write(shard_id, write)
        try:
            self._objects.send(super().fetch(shard_id, digest), _key(shard_id, digest))
        finally:
            super().remove(shard_id, digest)
        return digest

    def remove(self, shard_id: uuid.UUID, digest: str) -> None:
        """Removes that snapshot here and there; the sweep comes again if one cannot be reached."""
        super().remove(shard_id, digest)
        with contextlib.suppress(Unavailable, FileNotFoundError):
            self._objects.delete(_key(shard_id, digest))

    def kept(self) -> Iterator[tuple[uuid.UUID, str, float]]:
        """Shard, seal and age in seconds of every snapshot there is, here and there."""
        yield from super().kept()
        with contextlib.suppress(Unavailable):
            now = datetime.datetime.now(datetime.UTC)
            for key, changed_at in self._objects.list(PREFIX):
                with contextlib.suppress(ValueError):
                    yield *named(key.rpartition("/")[2]), (now - changed_at).total_seconds()


def _key(shard_id: uuid.UUID, digest: str) -> str:
    return f"{PREFIX}/{name_of(shard_id, digest)}"

"""Snapshots of replays, beside the blobs, so that another host can resume from them.

::

    FOLDER/{shard}.{seal}             beside the blobs, or where REFAULT_SNAPSHOTS says
    PREFIX/snapshots/{shard}.{seal}   in the bucket; a copy stands in the host's staging folder
                                      while it is read

One per running shard. It appears atomically and never changes. The row of the shard names the
valid one, so a worker that lost its shard and still writes does no harm.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from refault.errors import Unavailable

INCOMING = "incoming"
# A file not written to for this long belongs to a dead process.
ABANDONED_AFTER_SECONDS = 3600


class Kept(NamedTuple):
    """A stored snapshot."""

    shard_id: uuid.UUID
    seal: str
    age_seconds: float


class SnapshotStore:
    """Snapshots in a folder that all hosts share.

    The folder is created with the first one: most shards end before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, shard_id: uuid.UUID, write: Callable[[BinaryIO], str]) -> str:
        """Lets ``write`` fill a file and return its seal, which is returned.

        Raises:
            OSError, Unavailable: it could not be stored, and nothing of it is left.
        """
        (self.folder / INCOMING).mkdir(parents=True, exist_ok=True)
        temporary = self.folder / INCOMING / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                seal = write(file)
            self._put(temporary, _name(shard_id, seal))
        finally:
            temporary.unlink(missing_ok=True)
        return seal

    def path(self, shard_id: uuid.UUID, seal: str) -> Path:
        """The path of that snapshot on this host, whether or not it exists."""
        return self.folder / _name(shard_id, seal)

    def remove(self, shard_id: uuid.UUID, seal: str) -> None:
        """Removes that snapshot if possible; otherwise the sweep will."""
        with contextlib.suppress(OSError, Unavailable):
            self._delete(_name(shard_id, seal))

    def of_shards(self, shard_ids: Collection[uuid.UUID]) -> set[tuple[uuid.UUID, str]]:
        """Shard and seal of the snapshots of some shards, registered or not."""
        kept = self.kept() if shard_ids else ()
        return {(each.shard_id, each.seal) for each in kept if each.shard_id in shard_ids}

    def erase(self, shard_ids: Collection[uuid.UUID]) -> int:
        """Removes all snapshots of some shards; returns how many.

        Raises:
            OSError, Unavailable: not all could be removed.
        """
        found = self.of_shards(shard_ids)
        for shard_id, seal in found:
            self._delete(_name(shard_id, seal))
        return len(found)

    def sweep_incoming(self) -> None:
        """Removes files of this host whose writer or reader died."""
        oldest = time.time() - ABANDONED_AFTER_SECONDS
        for path in self._passing():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _passing(self) -> Iterator[Path]:
        """Temporary files."""
        yield from (self.folder / INCOMING).glob("*")

    def fetch(self, shard_id: uuid.UUID, seal: str) -> Path:
        """The path of a local file of that snapshot, unchecked; it may not exist.

        Raises Unavailable if that cannot be determined.
        """
        return self.path(shard_id, seal)

    def kept(self) -> Iterator[Kept]:
        """Every snapshot, including those of which this host has only a copy."""
        for path in self.folder.glob("*.*"):
            with contextlib.suppress(FileNotFoundError):
                age_seconds = time.time() - path.stat().st_mtime
                if (found := parse(path.name, age_seconds)) is not None:
                    yield found

    def _put(self, path: Path, name: str) -> None:
        """Stores a local file under a name; the file may be moved."""
        path.rename(self.folder / name)

    def _delete(self, name: str) -> None:
        """Removes the file of that name, if any."""
        (self.folder / name).unlink(missing_ok=True)


def parse(name: str, age_seconds: float) -> Kept | None:
    """The snapshot of a file name; None if it is not one of ours."""
    shard, _, seal = name.partition(".")
    try:
        return Kept(uuid.UUID(shard), seal, age_seconds)
    except ValueError:
        return None


def _name(shard_id: uuid.UUID, seal: str) -> str:
    return f"{shard_id}.{seal}"

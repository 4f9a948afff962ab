"""The folder of snapshots: one file per shard under way, named by the shard and its seal.

A file appears in one rename and is never changed. The row of the shard says which one counts,
so a worker that lost its shard and writes on does no harm.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

INCOMING = "incoming"
# A file that nobody has written to for this long belongs to a dead process.
ABANDONED_AFTER_SECONDS = 3600


class SnapshotFolder:
    """Made when the first snapshot is written: most shards are over before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, shard_id: uuid.UUID, digest: str) -> Path:
        """The file of that snapshot, if there is one; unchecked."""
        return self.folder / name_of(shard_id, digest)

    def write(self, shard_id: uuid.UUID, write: Callable[[BinaryIO], str]) -> str:
        """Lets ``write`` fill a file and answer its seal, which is answered; or raises OSError."""
        (self.folder / INCOMING).mkdir(parents=True, exist_ok=True)
        temporary = self.folder / INCOMING / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                digest = write(file)
            temporary.rename(self.folder / name_of(shard_id, digest))
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def remove(self, shard_id: uuid.UUID, digest: str) -> None:
        """Removes that snapshot, if it is there and the folder lets us: the sweep comes again."""
        with contextlib.suppress(OSError):
            (self.folder / name_of(shard_id, digest)).unlink(missing_ok=True)

    def kept(self) -> Iterator[tuple[uuid.UUID, str, float]]:
        """Shard, seal and age in seconds of every snapshot there is."""
        for path in self.folder.glob("*.*"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                yield *named(path.name), time.time() - path.stat().st_mtime

    def sweep_incoming(self) -> None:
        """Removes files whose writer died."""
        oldest = time.time() - ABANDONED_AFTER_SECONDS
        for path in (self.folder / INCOMING).glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def name_of(shard_id: uuid.UUID, digest: str) -> str:
    """What a snapshot is called."""
    return f"{shard_id}.{digest}"


def named(name: str) -> tuple[uuid.UUID, str]:
    """The snapshot of that name; ValueError if it is that of none."""
    shard_id, _, digest = name.partition(".")
    return uuid.UUID(shard_id), digest

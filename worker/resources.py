"""What a worker process holds: settings, database, blobs, its name, and a way to the broker."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from db import session
from db.blobs import BlobStore, is_bucket, open_store
from db.messages import ShardMessage
from worker.settings import Settings
from worker.snapshot_folder import SnapshotFolder


@dataclasses.dataclass(frozen=True)
class Resources:
    """Held from start to stop; ``publish`` sends messages after a commit."""

    settings: Settings
    engine: sa.Engine
    blobs: BlobStore
    name: str
    simulator_digest: str
    publish: Callable[[Sequence[ShardMessage]], int]
    # Where long shards put their state aside, for whoever goes on with them.
    snapshots: SnapshotFolder
    # Where the stderr of an attempt stands until the attempt has ended well.
    attempts: Path

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        simulator_digest: str,
        publish: Callable[[Sequence[ShardMessage]], int],
        cache: Path,
    ) -> Resources:
        """Everything the settings name; connects to nothing yet."""
        attempts = cache / "attempts"
        attempts.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            engine=session.create_engine(settings.database_url, pool_size=2),
            blobs=open_store(settings.blobs, staging=settings.blobs_staging or cache / "blobs"),
            # New at every start, so that nobody takes a dead worker for its successor.
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            simulator_digest=simulator_digest,
            publish=publish,
            snapshots=_snapshots(settings, cache),
            attempts=attempts,
        )

    def after_fork(self) -> None:
        """Forgets the connections of the parent, without closing them under it."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()


def _snapshots(settings: Settings, cache: Path) -> SnapshotFolder:
    """Where all workers find them: the folder that is named, or else where the blobs are."""
    if settings.snapshots is not None:
        return SnapshotFolder(settings.snapshots)
    if not is_bucket(settings.blobs):
        return SnapshotFolder(Path(settings.blobs) / "snapshots")
    # Whoever has a folder need not have the library installed.
    from db.blobs.objects import Objects  # noqa: PLC0415
    from worker.snapshot_bucket import SnapshotBucket  # noqa: PLC0415

    return SnapshotBucket(cache / "snapshots", Objects.open(str(settings.blobs)))

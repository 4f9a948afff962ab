"""The resources of a worker process: settings, database, blobs, its name, the broker."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from db import session
from db.blobs import BlobStore, SnapshotStore, open_snapshots, open_store
from db.shards.messages import Message
from services.shared.limits import Limits
from worker.settings import Settings


@dataclasses.dataclass(frozen=True)
class Resources:
    """Held from start to stop; ``publish`` sends messages after a commit."""

    settings: Settings
    engine: sa.Engine
    blobs: BlobStore
    name: str
    # The digest of each engine, by name.
    simulators: Mapping[str, str]
    publish: Callable[[Sequence[Message]], int]
    # Snapshots of long shards, for the next attempt.
    snapshots: SnapshotStore
    # Limits of a shard.
    limits: Limits
    # Folder with the stderr of attempts, each kept until the attempt has ended well.
    attempts: Path

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        simulators: Mapping[str, str],
        publish: Callable[[Sequence[Message]], int],
        cache: Path,
    ) -> Resources:
        """The resources named by the settings; connects to nothing yet."""
        attempts = cache / "attempts"
        attempts.mkdir(parents=True, exist_ok=True)
        staging = settings.blobs_staging or cache / "blobs"
        return cls(
            settings=settings,
            engine=session.create_engine(settings.database_url, pool_size=2),
            blobs=open_store(settings.blobs, staging=staging),
            # New at every start, so that a dead worker is not taken for its successor.
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            simulators=simulators,
            publish=publish,
            snapshots=open_snapshots(settings.blobs, settings.snapshots, staging=staging),
            limits=Limits.of(settings.shard_seconds, settings.memory_limit_kib),
            attempts=attempts,
        )

    def after_fork(self) -> None:
        """Drops the inherited connections without closing them, as the parent uses them."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Closes the connections."""
        self.engine.dispose()

"""Writes snapshots of a long shard, and resumes from an earlier attempt's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from db.session import transaction
from db.shards import snapshots
from db.shards.leases import Claim
from refault.errors import RefaultError, ReplayCancelled, SnapshotRefused, Unavailable
from refault.replay.snapshot import Snapshot, seal_of
from worker.resources import Resources

_log = logging.getLogger(__name__)

COST_MAX = 0.1
"""The share of a shard's time for writing snapshots; large states are written more rarely."""


class Keeper:
    """One attempt's snapshots: the one it resumes from, and those it writes.

    If a snapshot cannot be written or registered, the work continues, and the next attempt, if
    any, has more to do.
    """

    def __init__(self, resources: Resources, claim: Claim) -> None:
        self._resources = resources
        self._fence = claim.fence
        self._digest = claim.snapshot_digest
        self._due_at = time.monotonic() + resources.settings.snapshot_seconds
        # Whether the shard is cancelled; checked while a snapshot is written.
        self.is_cancelled: Callable[[], bool] = lambda: False

    def found(self) -> Path | None:
        """The snapshot to resume from, if there is a valid one."""
        if self._digest is None:
            return None
        try:
            path = self._resources.snapshots.fetch(self._fence.shard_id, self._digest)
            if seal_of(path) != self._digest:
                raise SnapshotRefused("the snapshot cannot be used: it is not the one registered")  # noqa: TRY301
        except (OSError, SnapshotRefused, Unavailable) as error:
            self.refused(str(error))
            return None
        _log.info("shard %s goes on from a snapshot", self._fence.shard_id)
        return path

    def refused(self, reason: str) -> None:
        """The snapshot is unusable; an event of the batch says why the work starts again."""
        _log.warning("shard %s starts from its beginning: %s", self._fence.shard_id, reason)
        with transaction(self._resources.engine) as session:
            snapshots.refuse(session, self._fence, reason)
        self.forget()

    def offer(self, snapshot: Snapshot) -> None:
        """Called often; writes a snapshot if one is due."""
        began = time.monotonic()
        if began < self._due_at:
            return
        try:
            self._keep(snapshot)
        except (OSError, RefaultError) as error:
            _log.warning("no snapshot of shard %s: %s", self._fence.shard_id, error)
        except Exception:  # noqa: BLE001  # a convenience: the work must not end for it
            _log.exception("no snapshot of shard %s", self._fence.shard_id)
        ended = time.monotonic()
        pause = max(self._resources.settings.snapshot_seconds, (ended - began) / COST_MAX)
        self._due_at = ended + pause

    def forget(self) -> None:
        """Removes the snapshot: the shard is over, or starts again."""
        if self._digest is not None:
            self._remove(self._digest)
            self._digest = None

    def _keep(self, snapshot: Snapshot) -> None:
        digest = self._resources.snapshots.write(
            self._fence.shard_id,
            lambda file: snapshot.write(cast("BinaryIO", _Heard(file, self.is_cancelled))),
        )
        # If this raises, either snapshot may be in the row: the sweep removes the other.
        with transaction(self._resources.engine) as session:
            is_ours = snapshots.keep(session, self._fence, digest, snapshot.events)
        old, new = (self._digest, digest) if is_ours else (digest, self._digest)
        if old is not None and old != new:
            self._remove(old)
        self._digest = new

    def _remove(self, digest: str) -> None:
        try:
            self._resources.snapshots.remove(self._fence.shard_id, digest)
        except (OSError, RefaultError) as error:
            _log.warning("a snapshot of shard %s is left over: %s", self._fence.shard_id, error)


class _Heard:
    """A file whose writing stops when the shard is cancelled: a large state takes many seconds."""

    def __init__(self, file: BinaryIO, is_cancelled: Callable[[], bool]) -> None:
        self._file = file
        self._is_cancelled = is_cancelled

    def write(self, data: bytes) -> int:
        """Write some of it; raises ReplayCancelled."""
        if self._is_cancelled():
            raise ReplayCancelled("cancelled while a snapshot was written")
        return self._file.write(data)

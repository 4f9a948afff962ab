"""Keeps shards while they are computed, and learns when to let them go."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from db.repositories import shards
from db.repositories.shards import Claim, Grip
from db.session import transaction
from refault.errors import RefaultError
from worker.resources import Resources

_log = logging.getLogger(__name__)


class Lease:
    """A thread that moves the ends of a handful's leases; a context manager.

    Replays run without the interpreter's lock, so the thread gets its turn.
    The database's clock is the only one asked. A database that cannot be
    reached for a while is no reason to stop: if the lease runs out meanwhile,
    the next heartbeat says so.
    """

    def __init__(self, resources: Resources, claims: Sequence[Claim]) -> None:
        self._resources = resources
        self._fences = [claim.fence for claim in claims]
        self._events_done: dict[uuid.UUID, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.grip = Grip.HELD

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def is_cancelled(self) -> bool:
        """Whether to stop: the batch is cancelled, or the shard is somebody else's."""
        return self.grip is not Grip.HELD

    def report(self, claim: Claim, done: int, total: int) -> None:
        """How far a claim's replay is, in any unit."""
        self._events_done[claim.fence.shard_id] = claim.event_count * done // max(total, 1)

    def _run(self) -> None:
        settings = self._resources.settings
        pause = min(settings.heartbeat_seconds, settings.lease_seconds / 3)
        while not self._over.wait(pause):
            try:
                with transaction(self._resources.engine) as session:
                    self.grip = shards.extend(
                        session,
                        self._fences,
                        lease_seconds=settings.lease_seconds,
                        events_done=dict(self._events_done),
                    )
            except RefaultError as error:
                shard_ids = ", ".join(str(fence.shard_id) for fence in self._fences)
                _log.warning("lease of shard %s not extended: %s", shard_ids, error)
            if self.grip is not Grip.HELD:
                return

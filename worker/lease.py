"""Keeps a shard while a replay runs, and learns when to let it go."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from db.repositories import shards
from db.repositories.shards import Claim, Grip
from db.session import transaction
from refault.errors import RefaultError
from worker.resources import Resources

_log = logging.getLogger(__name__)


class Lease:
    """A thread that moves the end of a claim's lease; a context manager.

    Replays run without the interpreter's lock, so the thread gets its turn.
    The database's clock is the only one asked. A database that cannot be
    reached for a while is no reason to stop: if the lease runs out meanwhile,
    the next heartbeat says so.
    """

    def __init__(self, resources: Resources, claim: Claim) -> None:
        self._resources = resources
        self._claim = claim
        self._events_done = 0
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

    def report(self, done: int, total: int) -> None:
        """How far the replay is, in any unit."""
        self._events_done = self._claim.event_count * done // max(total, 1)

    def _run(self) -> None:
        settings = self._resources.settings
        pause = min(settings.heartbeat_seconds, settings.lease_seconds / 3)
        while not self._over.wait(pause):
            try:
                with transaction(self._resources.engine) as session:
                    self.grip = shards.extend(
                        session,
                        self._claim.fence,
                        lease_seconds=settings.lease_seconds,
                        events_done=self._events_done,
                    )
            except RefaultError as error:
                _log.warning(
                    "lease of shard %s not extended: %s", self._claim.fence.shard_id, error
                )
            if self.grip is not Grip.HELD:
                return

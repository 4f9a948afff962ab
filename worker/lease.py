"""The heartbeat of one shard: keeps the lease while a replay runs, and hears of a cancel."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from db import session
from db.repositories import shards
from refault.errors import Unavailable
from worker.connections import engine
from worker.settings import settings

log = logging.getLogger("refault.worker")


class Lease:
    """Extends the lease from a thread of its own; kernels run without the GIL, so it gets its turn.

    A context manager. Once the fence is lost, or the batch cancelled, ``is_cancelled``
    says so, and the replay stops at the next few thousand operations.
    """

    def __init__(self, claim: shards.Claim) -> None:
        self._claim = claim
        self._done = 0
        self._total = 0
        self._over = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def progress(self, done: int, total: int) -> None:
        """Remember how far the replay is; the next beat writes it down."""
        self._done, self._total = done, total

    def is_cancelled(self) -> bool:
        """Whether nobody wants the result any more."""
        return self._over.is_set()

    def _beat(self) -> None:
        while not self._stop.wait(settings().heartbeat_seconds):
            try:
                grip = self._extend()
            except (Unavailable, sa.exc.SQLAlchemyError) as error:
                log.warning("shard %s: no heartbeat: %s", self._claim.fence.shard_id, error)
                continue
            if grip is not shards.Grip.HELD:
                self._over.set()
                return

    def _extend(self) -> shards.Grip:
        events = self._claim.event_count
        share = self._done * events // self._total if self._total else 0
        with session.transaction(engine()) as opened:
            return shards.extend(
                opened,
                self._claim.fence,
                lease_seconds=settings().lease_seconds,
                events_done=min(share, events),
                events_total=events,
            )

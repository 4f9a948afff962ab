"""Extends the leases of what a worker computes or builds, and notices when to stop."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from sqlalchemy.orm import Session

from db.session import transaction
from db.shards import leases
from db.shards.leases import Claim, Grip
from refault.errors import RefaultError
from worker.resources import Resources

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often cancellation is checked between two extensions."""


class Held(Protocol):
    """What a lease is of: rows that stay with this worker as long as they are extended."""

    def extend(self, session: Session, lease_seconds: float) -> Grip:
        """Extend the lease, and store the progress."""

    def glance(self, session: Session) -> Grip:
        """What ``extend`` would answer, without writing."""


HeldT = TypeVar("HeldT", bound=Held)


class HeldShards:
    """The shards of a handful."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._fences = [claim.fence for claim in claims]
        self._events_done: dict[uuid.UUID, int] = {}

    def report(self, claim: Claim, done: int, total: int) -> None:
        """The progress of a claim's replay, in any unit."""
        self._events_done[claim.fence.shard_id] = claim.event_count * done // max(total, 1)

    def extend(self, session: Session, lease_seconds: float) -> Grip:
        """See :class:`Held`."""
        done = dict(self._events_done)
        return leases.extend(session, self._fences, lease_seconds=lease_seconds, events_done=done)

    def glance(self, session: Session) -> Grip:
        """See :class:`Held`."""
        return leases.glance(session, self._fences)

    def __str__(self) -> str:
        return ", ".join(f"shard {fence.shard_id}" for fence in self._fences)


class Lease(Generic[HeldT]):
    """A thread that extends the leases of what is held; a context manager.

    Replays run without the GIL, so the thread gets its turn. It continues after any exception,
    and logs it. An unreachable database is no reason to stop, since recording checks the fence;
    but after a lease's time without an answer the grip is UNSURE, and the next answer decides.
    """

    def __init__(self, resources: Resources, held: HeldT, *, since: float) -> None:
        """``since``: monotonic time, from before the claim was sent."""
        self._resources = resources
        self.held = held
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._answer = Grip.HELD
        self._answered_at = since

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

    @property
    def grip(self) -> Grip:
        """The state of the claim: HELD only while the last extension has not expired."""
        age_seconds = time.monotonic() - self._answered_at
        if self._answer is Grip.HELD and age_seconds > self._resources.settings.lease_seconds:
            return Grip.UNSURE
        return self._answer

    def is_cancelled(self) -> bool:
        """Whether to stop: the batch is cancelled, or the shards have another holder."""
        return self._answer is not Grip.HELD

    def _run(self) -> None:
        settings = self._resources.settings
        pause = min(settings.heartbeat_seconds, settings.lease_seconds / 3)
        due_at = time.monotonic() + pause
        while not self._over.wait(min(pause, LOOK_SECONDS)):
            try:
                if time.monotonic() < due_at:
                    self._look()
                    continue
                due_at = time.monotonic() + pause
                self._extend()
            except RefaultError as error:
                _log.warning("lease of %s not extended: %s", self.held, error)
            except Exception:  # noqa: BLE001  # the shards must not be left without a heartbeat
                _log.exception("lease of %s not extended", self.held)
            if self._answer is not Grip.HELD:
                return

    def _look(self) -> None:
        with transaction(self._resources.engine) as session:
            self._answer = self.held.glance(session)

    def _extend(self) -> None:
        asked_at = time.monotonic()
        with transaction(self._resources.engine) as session:
            answer = self.held.extend(session, self._resources.settings.lease_seconds)
        self._answered_at = asked_at
        self._answer = answer

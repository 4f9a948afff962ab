"""Ends of attempts: recorded, failed, released or requeued, each under its fence.

Nothing here raises while the database is down: if an end cannot be written, the lease expires and
the sweep requeues the shard.
"""

from __future__ import annotations

import enum
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from db.session import transaction
from db.shards import claiming, endings, recording
from db.shards.fences import Fence
from db.shards.leases import Claim, Grip
from db.shards.messages import ShardMessage
from db.shards.recording import Computed
from refault.errors import RefaultError, Unavailable
from refault.printable import printable
from services.shared import logs, tracing
from worker.lease import HeldShards, Lease
from worker.patience import Patience
from worker.resources import Resources

_log = logging.getLogger(__name__)

AnswerT = TypeVar("AnswerT")

WORDS_MAX = 4_000
"""Stored length of a reason, in characters: some have a traceback."""


class Ending(enum.Enum):
    """The end of one attempt at a shard."""

    RECORDED = "recorded"
    CANCELLED = "cancelled"
    LOST = "lost"  # Another worker has the shard, or will have: nothing was written.
    FAILED = "failed"
    GIVEN_BACK = "given back"
    PUT_OFF = (
        "put off"  # Requeued because of an outage of the service, which counts against no shard.
    )


class Writer:
    """Writes the ends of a process's shards, for one turn of work."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._patience = Patience()

    def claim(self) -> list[Claim]:
        """The claimed shards; after a ServiceError nothing is held."""
        return self._patience.call("claim", self._claim)

    def record(
        self,
        computed: Sequence[Computed],
        claim: Claim,
        lease: Lease[HeldShards],
        *,
        first_try: int = 0,
    ) -> dict[Fence, Ending]:
        """Records the results of a claim in one transaction; the end of each shard.

        On failure the shards are requeued with the reason. If it was not an outage, each shard is
        recorded alone first, so that one bad shard costs the others nothing.
        """
        if not computed:
            return {}
        tries = itertools.count(first_try)
        try:
            told = {"refault.batch": claim.origin.batch_code, "refault.shards": len(computed)}
            with (
                logs.bound(request_id=claim.origin.request_id, batch=claim.origin.batch_code),
                tracing.span("record", told, parent=claim.origin.trace_context),
            ):
                recorded = self._patience.call(
                    "record",
                    lambda: self._record(computed, is_again=next(tries) > 0),
                    is_pointless=lambda: lease.grip is Grip.LOST,
                )
        except Exception as error:  # noqa: BLE001  # whatever it is, the shards are given back
            if len(computed) == 1 or isinstance(error, Unavailable):
                _log.warning("%d computed shards not recorded: %s", len(computed), error)
                return {
                    entry.fence: self.give_back(entry.fence, error, "computed, but not recorded: ")
                    for entry in computed
                }
        else:
            return dict.fromkeys(recorded, Ending.RECORDED)
        endings: dict[Fence, Ending] = {}
        for entry in computed:
            endings |= self.record([entry], claim, lease, first_try=1)
        return endings

    def give_back(self, fence: Fence, error: Exception, prefix: str = "") -> Ending:
        """The attempt failed for a reason that another attempt may not have."""
        is_outage = isinstance(error, Unavailable)
        if not isinstance(error, RefaultError | OSError | MemoryError):
            _log.error("shard %s: not foreseen", fence.shard_id, exc_info=error)

        def write() -> ShardMessage | None:
            with transaction(self._resources.engine) as session:
                return endings.give_back(
                    session, fence, prefix + described(error), counts_as_loss=not is_outage
                )

        message = self._written("given back", fence, write)
        if message is not None:
            self._resources.publish([message])
        return Ending.PUT_OFF if is_outage else Ending.GIVEN_BACK

    def fail(self, fence: Fence, error: str) -> Ending:
        """The attempt failed as every other would."""

        def write() -> bool:
            with transaction(self._resources.engine) as session:
                return endings.fail(session, fence, error[:WORDS_MAX])

        return Ending.FAILED if self._written("failed", fence, write) else Ending.LOST

    def let_go(self, fence: Fence, grip: Grip) -> Ending:
        """The replay was cancelled."""
        if grip is not Grip.CANCELLED:
            return Ending.LOST

        def write() -> bool:
            with transaction(self._resources.engine) as session:
                return endings.cancelled(session, fence)

        return Ending.CANCELLED if self._written("cancelled", fence, write) else Ending.LOST

    def _claim(self) -> list[Claim]:
        held = self._resources
        try:
            with transaction(held.engine) as session:
                return claiming.claim_handful(
                    session,
                    worker=held.name,
                    worker_pid=os.getpid(),
                    simulators=held.simulators.values(),
                    lease_seconds=held.settings.lease_seconds,
                )
        except RefaultError as error:
            self._let_go_of_unknown(f"claimed, but the answer was lost: {error}")
            raise

    def _let_go_of_unknown(self, reason: str) -> None:
        """Releases claims whose commit may have succeeded though its answer was lost."""
        try:
            with transaction(self._resources.engine) as session:
                for fence in claiming.held_by(session, self._resources.name, os.getpid()):
                    endings.give_back(session, fence, reason, counts_as_loss=False)
        except RefaultError as error:
            _log.warning("what was claimed, if anything, waits for its lease: %s", error)

    def _record(self, computed: Sequence[Computed], *, is_again: bool) -> set[Fence]:
        with transaction(self._resources.engine) as session:
            before: set[Fence] = set()
            if is_again:
                before = recording.recorded(session, [entry.fence for entry in computed])
            left = [entry for entry in computed if entry.fence not in before]
            written = recording.record(
                session,
                left,
                simulators=self._resources.simulators,
                worker=self._resources.name,
            )
        return before | set(written)

    def _written(self, what: str, fence: Fence, write: Callable[[], AnswerT]) -> AnswerT | None:
        try:
            return self._patience.call(what, write)
        except RefaultError as error:
            _log.warning(
                "shard %s is not %s, and waits for its lease: %s", fence.shard_id, what, error
            )
            return None


def described(error: BaseException) -> str:
    """An exception as text for rows: type and message; only the first line of unexpected ones."""
    text = str(error)
    if not isinstance(error, RefaultError):
        text = next(iter(text.splitlines()), "")
    return printable(f"{type(error).__name__}: {text}"[:WORDS_MAX], lines=True)

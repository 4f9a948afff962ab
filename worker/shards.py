"""Claim, compute, record: two short transactions around a pure computation of a few shards."""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

from db.errors import BlobDamaged
from db.repositories import operations, patch_sets
from db.repositories.results import Outcome
from db.session import transaction
from db.shards import claiming, endings, leases
from db.shards.fences import Fence
from db.shards.leases import Claim
from db.shards.recording import Computed
from refault.engines import get_engine
from refault.errors import (
    CatalogueError,
    RefaultError,
    ReplayCancelled,
    ReplayError,
    ResultError,
    TraceError,
)
from services.shared import logs, tracing
from worker import kernels, replaying, stderr
from worker.deadline import Deadline
from worker.endings import Ending, Writer
from worker.lease import HeldShards, Lease
from worker.putting_aside import Keeper
from worker.resources import Resources

_log = logging.getLogger(__name__)

FINAL = (TraceError, CatalogueError, ReplayError, ResultError, BlobDamaged)
"""Errors that every other attempt would have too: the runs fail with the message.

After any other error another attempt may succeed: an outage of the service (Unavailable) counts
against no shard, an unknown error counts as a loss.
"""

TURN_SECONDS = 1.0
"""How long one message may be used for small shards, because Celery's overhead per message is that
of several shards. A shutdown, or more urgent work, waits this long and one shard more."""

OUTAGE_PAUSE_SECONDS = 5.0
"""Pause after an outage, without claims, before the next message."""


def take_turn(resources: Resources) -> list[Ending]:
    """Runs queued shards for up to :data:`TURN_SECONDS`: the work of one message.

    A failed attempt ends the turn, so that another worker may try the shard. Returns the end of
    each. If nothing was queued, the message is counted as dropped.
    """
    until = time.monotonic() + TURN_SECONDS
    try:
        endings = latest = run(resources)
        while latest and set(latest) == {Ending.RECORDED} and time.monotonic() < until:
            latest = run(resources)
            endings = endings + latest
        if not endings:
            with transaction(resources.engine) as session:
                operations.count(session, operations.MESSAGES_DROPPED)
    except RefaultError as error:
        # Acknowledge the message; the sweep sends another when the database is back.
        _log.warning("no shard claimed: %s", error)
        endings = [Ending.PUT_OFF]
    if Ending.PUT_OFF in endings:
        time.sleep(OUTAGE_PAUSE_SECONDS)
    return endings


def run(resources: Resources, *, replay: replaying.Replay | None = None) -> list[Ending]:
    """Runs the best queued shard once, with small ones of its batch; the end of each.

    ``replay`` is replaced by tests of failures.

    Raises ServiceError if claiming fails.
    """
    writer = Writer(resources)
    asked_at = time.monotonic()
    claims = writer.claim()
    if not claims:
        return []
    keepers = {claim.fence: Keeper(resources, claim) for claim in claims}
    try:
        with Lease(resources, HeldShards(claims), since=asked_at) as lease:
            attempts = [
                _attempt(resources, writer, claim, lease, keepers[claim.fence], replay)
                for claim in claims
            ]
            recorded = writer.record(
                [found for found in attempts if isinstance(found, Computed)], claims[0], lease
            )
    except Exception as error:  # noqa: BLE001  # no thread, say: what is held is not forgotten
        return [writer.give_back(claim.fence, error) for claim in claims]
    endings = []
    for claim, found in zip(claims, attempts, strict=True):
        ending = recorded.get(claim.fence, Ending.LOST) if isinstance(found, Computed) else found
        if ending not in (Ending.LOST, Ending.GIVEN_BACK, Ending.PUT_OFF):
            keepers[claim.fence].forget()
        with logs.bound(**_names(resources, claim)):
            shard_id, attempt = claim.fence.shard_id, claim.fence.attempt
            _log.info("shard %s, attempt %d: %s", shard_id, attempt, ending.value)
        endings.append(ending)
    return endings


def _names(resources: Resources, claim: Claim) -> dict[str, Any]:
    return {
        "request_id": claim.origin.request_id,
        "batch": claim.origin.batch_code,
        "shard": str(claim.fence.shard_id),
        "attempt": claim.fence.attempt,
        "worker": resources.name,
    }


def _attempt(
    resources: Resources,
    writer: Writer,
    claim: Claim,
    lease: Lease[HeldShards],
    keeper: Keeper,
    replay: replaying.Replay | None,
) -> Computed | Ending:
    """Computes a shard; a failed attempt is ended here, with its reason."""
    names = _names(resources, claim)
    told = {f"refault.{name}": value for name, value in names.items()}
    parent = claim.origin.trace_context
    began = time.monotonic()
    with logs.bound(**names), tracing.span("shard", told, parent=parent) as span:
        try:
            with stderr.kept(resources.attempts, claim.fence):
                outcomes = _compute(resources, claim, lease, keeper, replay)
        except ReplayCancelled:
            ending = writer.let_go(claim.fence, lease.grip)
        except FINAL as error:
            ending = writer.fail(claim.fence, str(error))
        except Exception as error:  # noqa: BLE001  # another attempt may not meet it
            ending = writer.give_back(claim.fence, error)
        else:
            span.tell({"refault.ending": "computed"})
            return Computed(claim.fence, outcomes, time.monotonic() - began)
        span.tell({"refault.ending": ending.value}, is_error=ending is Ending.FAILED)
        return ending


def process_died(resources: Resources, pid: int, error: str) -> None:
    """A pool process is known to be dead: its shards are requeued before their lease expires."""
    with transaction(resources.engine) as session:
        fences = claiming.held_by(session, resources.name, pid)
    for fence in fences:
        try:
            _give_back_of_dead(resources, fence, error)
        except RefaultError as failure:
            # The other shards are requeued all the same.
            _log.warning("shard %s waits for its lease to run out: %s", fence.shard_id, failure)


def _give_back_of_dead(resources: Resources, fence: Fence, error: str) -> None:
    tail = stderr.take_tail(resources.attempts, fence)
    with transaction(resources.engine) as session:
        origin = leases.origin_of(session, fence.shard_id)
        message = endings.give_back(session, fence, f"{error}\n{tail}".strip(), is_death=True)
    with logs.bound(
        request_id=origin.request_id, batch=origin.batch_code, shard=str(fence.shard_id)
    ):
        _log.warning("shard %s, attempt %d: %s", fence.shard_id, fence.attempt, error)
    if message is not None:
        resources.publish([message])


def _compute(
    resources: Resources,
    claim: Claim,
    lease: Lease[HeldShards],
    keeper: Keeper,
    replay: replaying.Replay | None,
) -> list[Outcome]:
    variants = [patch_sets.to_variant(run.variant) for run in claim.runs]
    with tracing.span("fetch", {"refault.trace": claim.trace_digest}):
        trace = resources.blobs.fetch(claim.trace_digest)
    kernels.provide(resources, variants)
    _log.info("%s under %d variants", claim.trace_name, len(variants))
    options = {} if replay is None else {"replay": replay}
    limits = resources.limits.within(claim.shard_seconds)
    deadline = Deadline(limits)
    keeper.is_cancelled = lambda: lease.is_cancelled() or deadline.is_over()
    with tracing.span("replay", {"refault.variants": len(variants)}):
        try:
            return replaying.outcomes(
                trace,
                variants,
                progress=functools.partial(lease.held.report, claim),
                is_cancelled=keeper.is_cancelled,
                memory_bytes=limits.memory_bytes,
                keeper=keeper if get_engine(variants[0].engine).resumes else None,
                **options,
            )
        except ReplayCancelled:
            if not lease.is_cancelled():
                deadline.check()
            raise

"""Claim, compute, record: two short transactions round a pure computation."""

from __future__ import annotations

import enum
import logging
import os

import sqlalchemy as sa

from db import logs, tracing
from db.repositories import claiming, operations, patch_sets, shards
from db.repositories.results import Outcome
from db.repositories.shards import Claim, Fence, Grip
from db.session import transaction
from refault.errors import NotFound, RefaultError, ReplayCancelled, Unavailable
from worker import replaying, stderr
from worker.lease import Lease
from worker.putting_aside import Keeper
from worker.resources import Resources

_log = logging.getLogger(__name__)

HEALED_BY_TIME = (
    Unavailable,
    NotFound,  # the blob may be on its way to this machine's folder
    sa.exc.OperationalError,
    MemoryError,
    OSError,
)
"""What another attempt, later or elsewhere, may not meet again. All else is final."""


class Ending(enum.Enum):
    """What became of one delivery of a message."""

    STALE = "stale"  # nothing waits that is ours to compute
    RECORDED = "recorded"
    CANCELLED = "cancelled"
    LOST = "lost"  # somebody else holds the shard by now: nothing was written
    FAILED = "failed"
    GIVEN_BACK = "given back"


def run(resources: Resources, *, replay: replaying.Replay | None = None) -> Ending:
    """Runs the best waiting shard once; with nothing waiting, a nudge is one too many.

    ``replay`` is the simulator's door unless a test of failures brings another.
    """
    with transaction(resources.engine) as session:
        claim = claiming.claim_next(
            session,
            worker=resources.name,
            worker_pid=os.getpid(),
            simulator_digest=resources.simulator_digest,
            lease_seconds=resources.settings.lease_seconds,
        )
        if claim is None:
            operations.count(session, operations.MESSAGES_DROPPED)
            return Ending.STALE
        origin = shards.origin_of(session, claim.fence.shard_id)
    fields = {
        "request_id": origin.request_id,
        "batch": origin.batch_code,
        "shard": str(claim.fence.shard_id),
        "attempt": claim.fence.attempt,
        "worker": resources.name,
    }
    told = {f"refault.{name}": value for name, value in fields.items()}
    with logs.bound(**fields), tracing.span("shard", told, parent=origin.trace_context) as span:
        ending = _attempt(resources, claim, replay)
        span.tell({"refault.ending": ending.value}, is_error=ending is Ending.FAILED)
        _log.info(
            "shard %s, attempt %d: %s", claim.fence.shard_id, claim.fence.attempt, ending.value
        )
        return ending


def _attempt(resources: Resources, claim: Claim, replay: replaying.Replay | None) -> Ending:
    keeper = Keeper(resources, claim)
    fence = claim.fence
    try:
        with stderr.kept(resources.attempts, fence), Lease(resources, claim) as lease:
            outcomes = _compute(resources, claim, lease, keeper, replay)
    except ReplayCancelled:
        return _let_go(resources, keeper, fence, lease.grip)
    except HEALED_BY_TIME as error:
        return _give_back(resources, fence, f"{type(error).__name__}: {error}")
    except RefaultError as error:
        with transaction(resources.engine) as session:
            failed = shards.fail(session, fence, str(error))
        if failed:
            keeper.forget()
        return Ending.FAILED
    with tracing.span("record"), transaction(resources.engine) as session:
        recorded = shards.record(
            session,
            fence,
            outcomes,
            simulator_digest=resources.simulator_digest,
            worker=resources.name,
        )
    if not recorded:
        return Ending.LOST
    keeper.forget()
    return Ending.RECORDED


def process_died(resources: Resources, pid: int, error: str) -> None:
    """A pool process is known to be dead: what it held need not wait for its lease to run out."""
    with transaction(resources.engine) as session:
        fences = claiming.held_by(session, resources.name, pid)
    for fence in fences:
        tail = stderr.take_tail(resources.attempts, fence)
        with transaction(resources.engine) as session:
            origin = shards.origin_of(session, fence.shard_id)
            message = shards.give_back(session, fence, f"{error}\n{tail}".strip(), is_death=True)
        with logs.bound(
            request_id=origin.request_id, batch=origin.batch_code, shard=str(fence.shard_id)
        ):
            _log.warning("shard %s, attempt %d: %s", fence.shard_id, fence.attempt, error)
        if message is not None:
            resources.publish([message])


def _compute(
    resources: Resources,
    claim: Claim,
    lease: Lease,
    keeper: Keeper,
    replay: replaying.Replay | None,
) -> list[Outcome]:
    variants = [patch_sets.to_variant(run.variant) for run in claim.runs]
    with tracing.span("fetch", {"refault.trace": claim.trace_digest}):
        trace = resources.blobs.fetch(claim.trace_digest)
    _log.info("%s: %s under %d variants", claim.batch_code, claim.trace_name, len(variants))
    options = {} if replay is None else {"replay": replay}
    with tracing.span("replay", {"refault.variants": len(variants)}):
        return replaying.outcomes(
            trace,
            variants,
            progress=lease.report,
            is_cancelled=lease.is_cancelled,
            keeper=keeper,
            **options,
        )


def _let_go(resources: Resources, keeper: Keeper, fence: Fence, grip: Grip) -> Ending:
    if grip is Grip.LOST:
        return Ending.LOST
    with transaction(resources.engine) as session:
        shards.cancelled(session, fence)
    keeper.forget()
    return Ending.CANCELLED


def _give_back(resources: Resources, fence: Fence, error: str) -> Ending:
    with transaction(resources.engine) as session:
        message = shards.give_back(session, fence, error)
    if message is not None:
        resources.publish([message])
    return Ending.GIVEN_BACK

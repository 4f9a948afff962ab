"""Claim, compute, record: two short transactions round a pure computation of a few shards."""

from __future__ import annotations

import enum
import functools
import logging
import os
import time
from typing import Any

import sqlalchemy as sa

from db import logs, tracing
from db.repositories import claiming, operations, patch_sets, recording, shards
from db.repositories.recording import Computed
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


TURN_SECONDS = 1.0
"""How long one message may go on with small shards: Celery's own work for it weighs as much as some
of them. A worker that is told to stop, or more urgent work, waits this long and one shard more."""


class Ending(enum.Enum):
    """What became of one attempt at a shard."""

    RECORDED = "recorded"
    CANCELLED = "cancelled"
    LOST = "lost"  # somebody else holds the shard by now: nothing was written
    FAILED = "failed"
    GIVEN_BACK = "given back"


def take_turn(resources: Resources) -> list[Ending]:
    """Runs waiting shards until :data:`TURN_SECONDS` have passed: what one message is good for.

    A shard that came to nothing ends the turn, so that another worker may try it. Answers what
    became of each. With nothing waiting, the message was one too many.
    """
    until = time.monotonic() + TURN_SECONDS
    endings = latest = run(resources)
    while latest and set(latest) == {Ending.RECORDED} and time.monotonic() < until:
        latest = run(resources)
        endings = endings + latest
    if not endings:
        with transaction(resources.engine) as session:
            operations.count(session, operations.MESSAGES_DROPPED)
    return endings


def run(resources: Resources, *, replay: replaying.Replay | None = None) -> list[Ending]:
    """Runs the best waiting shard once, and small ones of its batch with it; what became of each.

    ``replay`` is the simulator's door unless a test of failures brings another.
    """
    with transaction(resources.engine) as session:
        claims = claiming.claim_handful(
            session,
            worker=resources.name,
            worker_pid=os.getpid(),
            simulator_digest=resources.simulator_digest,
            lease_seconds=resources.settings.lease_seconds,
        )
    if not claims:
        return []
    keepers = {claim.fence: Keeper(resources, claim) for claim in claims}
    with Lease(resources, claims) as lease:
        attempts = [
            _attempt(resources, claim, lease, keepers[claim.fence], replay) for claim in claims
        ]
    recorded = _record(
        resources, claims[0], [found for found in attempts if isinstance(found, Computed)]
    )
    endings = []
    for claim, found in zip(claims, attempts, strict=True):
        ending = found if isinstance(found, Ending) else Ending.LOST
        if claim.fence in recorded:
            ending = Ending.RECORDED
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
    claim: Claim,
    lease: Lease,
    keeper: Keeper,
    replay: replaying.Replay | None,
) -> Computed | Ending:
    """Computes a shard; an attempt that comes to nothing is ended here, with its reason."""
    names = _names(resources, claim)
    told = {f"refault.{name}": value for name, value in names.items()}
    parent = claim.origin.trace_context
    began = time.monotonic()
    with logs.bound(**names), tracing.span("shard", told, parent=parent) as span:
        try:
            with stderr.kept(resources.attempts, claim.fence):
                outcomes = _compute(resources, claim, lease, keeper, replay)
        except ReplayCancelled:
            ending = _let_go(resources, keeper, claim.fence, lease.grip)
        except HEALED_BY_TIME as error:
            ending = _give_back(resources, claim.fence, f"{type(error).__name__}: {error}")
        except RefaultError as error:
            ending = _fail(resources, keeper, claim.fence, str(error))
        else:
            span.tell({"refault.ending": "computed"})
            return Computed(claim.fence, outcomes, time.monotonic() - began)
        span.tell({"refault.ending": ending.value}, is_error=ending is Ending.FAILED)
        return ending


def _record(resources: Resources, claim: Claim, computed: list[Computed]) -> list[Fence]:
    """Writes what was computed for the claim's batch, all at once; those that were still ours."""
    if not computed:
        return []
    told = {"refault.batch": claim.origin.batch_code, "refault.shards": len(computed)}
    parent = claim.origin.trace_context
    with (
        logs.bound(request_id=claim.origin.request_id, batch=claim.origin.batch_code),
        tracing.span("record", told, parent=parent),
        transaction(resources.engine) as session,
    ):
        return recording.record(
            session,
            computed,
            simulator_digest=resources.simulator_digest,
            worker=resources.name,
        )


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
    _log.info("%s under %d variants", claim.trace_name, len(variants))
    options = {} if replay is None else {"replay": replay}
    with tracing.span("replay", {"refault.variants": len(variants)}):
        return replaying.outcomes(
            trace,
            variants,
            progress=functools.partial(lease.report, claim),
            is_cancelled=lease.is_cancelled,
            keeper=keeper,
            **options,
        )


def _fail(resources: Resources, keeper: Keeper, fence: Fence, error: str) -> Ending:
    with transaction(resources.engine) as session:
        failed = shards.fail(session, fence, error)
    if failed:
        keeper.forget()
    return Ending.FAILED


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

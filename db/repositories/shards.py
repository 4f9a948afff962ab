"""Take, extend, record, give back: a shard's life under the fence (shard id, attempt).

Only the database's clock is asked, so workers need not agree on the time. All
functions lock the batch before the shard.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.messages import ShardMessage
from db.models import Batch, Run, Shard
from db.repositories import batch_events, batches, operations, results, webhooks

LOSSES_MAX = 3
"""A shard that was lost this often is poison; trying on would loop for ever."""


@dataclasses.dataclass(frozen=True)
class Fence:
    """The right to write for a shard, as long as the row still has this attempt."""

    shard_id: uuid.UUID
    attempt: int


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a worker holds: the trace to decode once, and the runs to replay on it."""

    fence: Fence
    batch_code: str
    trace_digest: str
    trace_name: str
    event_count: int
    runs: tuple[Run, ...]
    # The seal of the snapshot that an earlier attempt left, if one did.
    snapshot_digest: str | None = None


class Grip(enum.Enum):
    """What a heartbeat finds out about the shard."""

    HELD = "held"
    CANCELLED = "cancelled"
    LOST = "lost"


def take(
    session: Session,
    batch: Batch,
    shard: Shard,
    *,
    worker: str,
    worker_pid: int,
    lease_seconds: float,
) -> Claim | None:
    """Gives a queued shard to a worker for a lease; batch and shard must be locked.

    Runs whose result has appeared since the planning are linked to it, unless
    the batch asks for everything again. None: that was all of them.
    """
    runs = _link_known(session, batch, shard)
    if not runs:
        shard.state = "done"
        shard.finished_at = sa.func.now()
        batch_events.add(session, batch, "shard.done", shard_id=str(shard.id))
        batches.settle(session, batch)
        return None
    shard.state = "running"
    shard.worker = worker
    shard.worker_pid = worker_pid
    shard.lease_until = _lease_end(lease_seconds)
    shard.started_at = sa.func.now()
    shard.events_done = 0
    for run in runs:
        run.state = "running"
    if batch.state == "queued":
        batch.state = "running"
    batch.claimed_at = sa.func.clock_timestamp()
    session.flush()
    batch_events.add(
        session,
        batch,
        "shard.claimed",
        shard_id=str(shard.id),
        worker=worker,
        attempt=shard.attempt,
        snapshot_events=shard.snapshot_events,
    )
    return Claim(
        Fence(shard.id, shard.attempt),
        batch.code,
        shard.trace.digest,
        shard.trace.name,
        shard.trace.event_count,
        tuple(runs),
        shard.snapshot_digest,
    )


def extend(session: Session, fence: Fence, *, lease_seconds: float, events_done: int) -> Grip:
    """The holder lives: moves the end of its lease and the progress that watchers see.

    Touches no row but the shard's, so that heartbeats never wait for each other.
    """
    cancel_requested_at = (
        sa.select(Batch.cancel_requested_at).where(Batch.id == Shard.batch_id).scalar_subquery()
    )
    row = session.execute(
        sa.update(Shard)
        .where(Shard.id == fence.shard_id, Shard.attempt == fence.attempt, Shard.state == "running")
        .values(lease_until=_lease_end(lease_seconds), events_done=events_done)
        .returning(cancel_requested_at.label("cancel_requested_at"))
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return Grip.LOST
    return Grip.HELD if row.cancel_requested_at is None else Grip.CANCELLED


def record(
    session: Session,
    fence: Fence,
    outcomes: Sequence[results.Outcome],
    *,
    simulator_digest: str,
    worker: str,
) -> bool:
    """Writes what the shard's runs came to and ends it; False if the fence no longer holds.

    Results, runs, shard, counts and the batch's end are one transaction, so a
    shard delivered or computed twice counts once.
    """
    batch, shard = locked(session, fence)
    if batch is None or shard is None or shard.state != "running":
        operations.count(session, operations.RESULTS_DROPPED)
        return False
    alarms: list[str] = []
    by_variant = {run.variant_digest: run for run in shard.runs if run.state == "running"}
    for outcome in outcomes:
        run = by_variant.pop(outcome.variant_digest)
        if outcome.failure is not None:
            run.state = "failed"
            run.error = outcome.failure
            run.finished_at = sa.func.now()
            batch.failed_count += 1
            session.flush()
            _tell_run(session, batch, run)
            continue
        result, alarmed = results.write(
            session,
            outcome,
            trace_digest=shard.trace.digest,
            simulator_digest=simulator_digest,
            worker=worker,
        )
        results.link(run, result, found=False)
        batch.done_count += 1
        session.flush()
        _tell_run(session, batch, run, integrity_alarm=alarmed)
        alarms += [outcome.variant_digest] * alarmed
    if by_variant:
        missing = ", ".join(sorted(digest[:12] for digest in by_variant))
        raise RuntimeError(f"shard {shard.id}: no outcome for variants {missing}")
    shard.state = "done"
    shard.lease_until = None
    shard.snapshot_digest = shard.snapshot_events = None
    shard.error = None
    shard.events_done = shard.events_total
    shard.finished_at = sa.func.now()
    session.flush()
    batch_events.add(session, batch, "shard.done", shard_id=str(shard.id))
    batches.settle(session, batch)
    if alarms:
        webhooks.announce(
            session,
            "integrity.alarm",
            batch,
            trace_digest=shard.trace.digest,
            variant_digests=alarms,
        )
        operations.count(session, operations.INTEGRITY_ALARMS, len(alarms))
    return True


def cancelled(session: Session, fence: Fence) -> bool:
    """The holder has stopped because the batch is cancelled; False if the fence no longer holds.

    If the batch has been resumed in the meantime, the shard waits again, and the next sweep
    sends its message.
    """
    batch, shard = locked(session, fence)
    if batch is None or shard is None or shard.state != "running":
        return False
    if batch.cancel_requested_at is None:
        requeue(session, batch, shard, "stopped, and then resumed", counts_as_loss=False)
        shard.published_at = None
        return True
    batches.cancel_shard(session, batch, shard)
    batches.settle(session, batch)
    return True


def fail(session: Session, fence: Fence, error: str) -> bool:
    """The shard cannot succeed whoever tries; False if the fence no longer holds."""
    batch, shard = locked(session, fence)
    if batch is None or shard is None or shard.state != "running":
        return False
    fail_locked(session, batch, shard, error)
    return True


def give_back(
    session: Session,
    fence: Fence,
    error: str,
    *,
    counts_as_loss: bool = True,
    is_death: bool = False,
) -> ShardMessage | None:
    """An attempt has ended without a result, for a reason that may pass.

    Answers the message for the next attempt; None when there is none, because
    the fence no longer holds, the batch is cancelled, or this was loss number
    :data:`LOSSES_MAX` and the shard has failed. An attempt that was merely
    interrupted (the worker was told to stop) does not count as a loss. A death
    may be one variant's doing: instead of failing, its shard is taken apart.
    """
    batch, shard = locked(session, fence)
    if batch is None or shard is None or shard.state != "running":
        return None
    return requeue(session, batch, shard, error, counts_as_loss=counts_as_loss, is_death=is_death)


class Origin(NamedTuple):
    """The batch of a shard, and what is kept of the request that planned it."""

    batch_code: str | None
    request_id: str | None
    trace_context: str | None  # of ``db/tracing.py``


def origin_of(session: Session, shard_id: uuid.UUID) -> Origin:
    """Where a shard comes from, for logs and traces; nothing of one that is gone."""
    query = sa.select(Batch.code, Batch.request_id, Batch.trace_context)
    row = session.execute(
        query.join(Shard, Shard.batch_id == Batch.id).where(Shard.id == shard_id)
    ).one_or_none()
    return Origin(None, None, None) if row is None else Origin(*row)


def locked(session: Session, fence: Fence) -> tuple[Batch | None, Shard | None]:
    """Batch and shard, locked in this order; None for a shard that moved on to another attempt."""
    batch_id = session.scalar(sa.select(Shard.batch_id).where(Shard.id == fence.shard_id))
    if batch_id is None:
        return None, None
    batch = batches.lock(session, batch_id)
    query = (
        sa.select(Shard)
        .where(Shard.id == fence.shard_id, Shard.attempt == fence.attempt)
        .with_for_update(of=Shard)
        .execution_options(populate_existing=True)
    )
    return batch, session.scalars(query).one_or_none()


def _lease_end(lease_seconds: float) -> sa.ColumnElement[datetime.datetime]:
    length = sa.func.make_interval(0, 0, 0, 0, 0, 0, lease_seconds, type_=sa.Interval)
    return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + length


def _link_known(session: Session, batch: Batch, shard: Shard) -> list[Run]:
    """Links open runs to results that have appeared; answers the runs still to be computed."""
    open_runs = [run for run in shard.runs if run.state in ("queued", "running")]
    if batch.recompute:
        return open_runs
    known = results.find_many(
        session,
        [shard.trace.digest],
        [run.variant_digest for run in open_runs if not run.again],
        batch.simulator_digest,
    )
    missing = []
    for run in open_runs:
        result = known.get((shard.trace.digest, run.variant_digest))
        if result is None:
            missing.append(run)
            continue
        results.link(run, result, found=True)
        batch.done_count += 1
        batch.cached_count += 1
        session.flush()
        _tell_run(session, batch, run)
    return missing


def requeue(
    session: Session,
    batch: Batch,
    shard: Shard,
    error: str,
    *,
    counts_as_loss: bool = True,
    is_death: bool = False,
) -> ShardMessage | None:
    """Puts a shard back for its next attempt, or ends it; batch and shard must be locked."""
    if batch.cancel_requested_at is not None:
        batches.cancel_shard(session, batch, shard)
        batches.settle(session, batch)
        return None
    shard.lost_count += int(counts_as_loss)
    if is_death and shard.lost_count >= LOSSES_MAX:
        _take_apart(session, batch, shard)
    if shard.lost_count >= LOSSES_MAX:
        fail_locked(session, batch, shard, f"given up after {shard.lost_count} attempts: {error}")
        return None
    shard.state = "queued"
    shard.attempt += 1
    shard.lease_until = None
    shard.error = error
    shard.events_done = 0
    # Whoever gives it back publishes right after the commit.
    shard.published_at = sa.func.now()
    for run in shard.runs:
        if run.state == "running":
            run.state = "queued"
    session.flush()
    batch_events.add(
        session,
        batch,
        "shard.requeued",
        shard_id=str(shard.id),
        attempt=shard.attempt,
        error=error,
    )
    return ShardMessage(shard.id, shard.attempt)


def _take_apart(session: Session, batch: Batch, shard: Shard) -> None:
    """Gives each run a shard of its own and one more attempt, so that poison takes nobody along.

    The first run stays where it is. The sweep finds that the new shards have no message.
    """
    _, *others = [run for run in shard.runs if run.state in ("queued", "running")]
    if not others:
        return
    shard.lost_count = LOSSES_MAX - 1
    shard.snapshot_digest = shard.snapshot_events = None
    for run in others:
        run.state = "queued"
        run.shard = Shard(
            project_id=shard.project_id,
            batch_id=batch.id,
            trace_id=shard.trace_id,
            attempt=shard.attempt + 1,
            lost_count=LOSSES_MAX - 1,
            events_total=shard.events_total,
            error=shard.error,
        )
    session.flush()
    session.refresh(shard, ["runs"])
    batch_events.add(
        session, batch, "shard.taken_apart", shard_id=str(shard.id), shard_count=1 + len(others)
    )


def fail_locked(session: Session, batch: Batch, shard: Shard, error: str) -> None:
    """Ends a shard and its open runs as failed; batch and shard must be locked."""
    shard.state = "failed"
    shard.lease_until = None
    shard.snapshot_digest = shard.snapshot_events = None
    shard.error = error
    shard.finished_at = sa.func.now()
    batch.failed_count += batches.end_open_runs(session, shard, "failed", error)
    session.flush()
    batch_events.add(session, batch, "shard.failed", shard_id=str(shard.id), error=error)
    batches.settle(session, batch)


def _tell_run(session: Session, batch: Batch, run: Run, *, integrity_alarm: bool = False) -> None:
    batch_events.add(
        session,
        batch,
        f"run.{run.state}",
        run_id=str(run.id),
        variant_digest=run.variant_digest,
        integrity_alarm=integrity_alarm,
    )

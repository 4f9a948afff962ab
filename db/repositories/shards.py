"""Take, extend, give back: a shard's life under the fence (shard id, attempt).

Only the database's clock is asked, so workers need not agree on the time. All
functions lock the batch before the shard.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from db.messages import ShardMessage
from db.models import Batch, Project, Run, Shard
from db.repositories import batch_events, batches, results

LOSSES_MAX = 3
"""A shard that was lost this often is poison; trying on would loop for ever."""


@dataclasses.dataclass(frozen=True)
class Fence:
    """The right to write for a shard, as long as the row still has this attempt."""

    shard_id: uuid.UUID
    attempt: int


class Origin(NamedTuple):
    """The batch of a shard, and what is kept of the request that planned it."""

    batch_code: str | None
    request_id: str | None
    trace_context: str | None  # of ``db/tracing.py``


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a worker holds: the trace to decode once, and the runs to replay on it."""

    fence: Fence
    origin: Origin
    trace_digest: str
    trace_name: str
    event_count: int
    runs: tuple[Run, ...]
    # The seal of the snapshot that an earlier attempt left, if one did.
    snapshot_digest: str | None = None
    # The project's own time limit, if it has one.
    shard_seconds: int | None = None


class Grip(enum.Enum):
    """What a heartbeat finds out about the shard."""

    HELD = "held"
    UNSURE = "unsure"  # nothing was heard for the length of a lease: it may be somebody else's
    CANCELLED = "cancelled"
    LOST = "lost"


def take(
    session: Session,
    batch: Batch,
    waiting: Sequence[Shard],
    *,
    worker: str,
    worker_pid: int,
    lease_seconds: float,
) -> list[Claim]:
    """Gives queued shards to a worker for a lease; batch and shards must be locked.

    Runs whose result has appeared since the planning are linked to it, unless
    the batch asks for everything again. A shard that had no other runs is done,
    and nobody's claim.
    """
    now = clock(session)
    runs = _link_known(session, batch, waiting, now)
    taken = [shard for shard in waiting if runs[shard.id]]
    for shard in waiting:
        if not runs[shard.id]:
            shard.state = "done"
            shard.finished_at = now
            batch_events.add(session, batch, "shard.done", shard_id=str(shard.id))
    if not taken:
        batches.settle(session, batch)
        return []
    if batch.state == "queued":
        batch.state = "running"
    batch.claimed_at = now
    for shard in taken:
        shard.state = "running"
        shard.worker = worker
        shard.worker_pid = worker_pid
        shard.lease_until = now + datetime.timedelta(seconds=lease_seconds)
        shard.started_at = now
        shard.events_done = 0
        for run in runs[shard.id]:
            run.state = "running"
        batch_events.add(
            session,
            batch,
            "shard.claimed",
            shard_id=str(shard.id),
            worker=worker,
            attempt=shard.attempt,
            snapshot_events=shard.snapshot_events,
        )
    session.flush()
    origin = Origin(batch.code, batch.request_id, batch.trace_context)
    shard_seconds = session.get_one(Project, batch.project_id).shard_seconds
    return [
        Claim(
            Fence(shard.id, shard.attempt),
            origin,
            shard.trace.digest,
            shard.trace.name,
            shard.trace.event_count,
            tuple(runs[shard.id]),
            shard.snapshot_digest,
            shard_seconds,
        )
        for shard in taken
    ]


def extend(
    session: Session,
    fences: Sequence[Fence],
    *,
    lease_seconds: float,
    events_done: Mapping[uuid.UUID, int],
) -> Grip:
    """The holder lives: moves the ends of its leases and the progress that watchers see.

    Touches no rows but the shards', in the order everybody locks them, so that heartbeats never
    wait for each other. What is held together is of one batch; LOST when no fence still holds.
    """
    cancel_requested_at = (
        sa.select(Batch.cancel_requested_at).where(Batch.id == Shard.batch_id).scalar_subquery()
    )
    lease_length = sa.func.make_interval(0, 0, 0, 0, 0, 0, lease_seconds, type_=sa.Interval)
    lease_end = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + lease_length
    progress: dict[str, Any] = {}
    if events_done:
        progress["events_done"] = sa.case(events_done, value=Shard.id, else_=Shard.events_done)
    held = (
        sa.select(Shard.id)
        .where(_is_any_of(fences), Shard.state == "running")
        .order_by(Shard.id)
        .with_for_update()
    )
    rows = session.execute(
        sa.update(Shard)
        .where(Shard.id.in_(held.scalar_subquery()))
        .values(lease_until=lease_end, **progress)
        .returning(cancel_requested_at.label("cancel_requested_at"))
        .execution_options(synchronize_session=False)
    ).all()
    return _grip([row.cancel_requested_at for row in rows])


def glance(session: Session, fences: Sequence[Fence]) -> Grip:
    """What :func:`extend` would find out; writes nothing, and so can be asked more often."""
    query = sa.select(Batch.cancel_requested_at).join(Shard, Shard.batch_id == Batch.id)
    found = session.scalars(query.where(_is_any_of(fences), Shard.state == "running").limit(1))
    return _grip(found.all())


def _grip(cancels: Sequence[datetime.datetime | None]) -> Grip:
    if not cancels:
        return Grip.LOST
    return Grip.HELD if cancels[0] is None else Grip.CANCELLED


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


def origin_of(session: Session, shard_id: uuid.UUID) -> Origin:
    """Where a shard comes from, for logs and traces; nothing of one that is gone."""
    query = sa.select(Batch.code, Batch.request_id, Batch.trace_context)
    row = session.execute(
        query.join(Shard, Shard.batch_id == Batch.id).where(Shard.id == shard_id)
    ).one_or_none()
    return Origin(None, None, None) if row is None else Origin(*row)


def locked(session: Session, fence: Fence) -> tuple[Batch | None, Shard | None]:
    """Batch and shard, locked in this order; None for a shard that moved on to another attempt."""
    batch, found = locked_together(session, [fence])
    return batch, found.get(fence)


def locked_together(
    session: Session, fences: Sequence[Fence]
) -> tuple[Batch | None, dict[Fence, Shard]]:
    """The batch and those shards that have not moved on to another attempt, locked."""
    wanted = {fence.shard_id for fence in fences}
    batch_ids = session.scalars(
        sa.select(Shard.batch_id).where(Shard.id.in_(wanted)).distinct()
    ).all()
    if not batch_ids:
        return None, {}
    [batch_id] = batch_ids
    batch = batches.lock(session, batch_id)
    query = (
        sa.select(Shard)
        .where(_is_any_of(fences))
        .order_by(Shard.id)
        .options(selectinload(Shard.runs))
        .with_for_update(of=Shard)
        .execution_options(populate_existing=True)
    )
    return batch, {Fence(row.id, row.attempt): row for row in session.scalars(query)}


def _is_any_of(fences: Sequence[Fence]) -> sa.ColumnElement[bool]:
    keys = [(fence.shard_id, fence.attempt) for fence in fences]
    return sa.tuple_(Shard.id, Shard.attempt).in_(keys)


def clock(session: Session) -> datetime.datetime:
    """The database's clock, as a value: rows with expressions would be written one by one."""
    now: datetime.datetime = session.scalars(sa.select(sa.func.clock_timestamp())).one()
    return now


def _link_known(
    session: Session, batch: Batch, waiting: Sequence[Shard], now: datetime.datetime
) -> dict[uuid.UUID, list[Run]]:
    """Links open runs to results that have appeared; the runs still to be computed, by shard."""
    open_runs = {
        shard.id: [run for run in shard.runs if run.state in ("queued", "running")]
        for shard in waiting
    }
    if batch.recompute:
        return open_runs
    find = functools.partial(
        results.find_many,
        session,
        [shard.trace.digest for shard in waiting],
        [run.variant_digest for runs in open_runs.values() for run in runs if not run.again],
        batch.simulators.values(),
    )
    known = own = find()
    if any(row.project_id != batch.project_id for row in known.values()):
        own = find(project_id=batch.project_id)
    for shard in waiting:
        for run in list(open_runs[shard.id]):
            result = known.get((shard.trace.digest, run.variant_digest))
            if result is None or run.again:
                continue
            open_runs[shard.id].remove(run)
            is_own = (shard.trace.digest, run.variant_digest) in own
            results.link(run, result, found=is_own, at=now)
            batch.done_count += 1
            batch.cached_count += int(is_own)
            if not is_own:
                # Done like any other, as far as the project sees; nobody's work for this shard.
                run.shard = None
            batch_events.add_run(session, batch, run)
    return open_runs


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
            simulator_digest=shard.simulator_digest,
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

"""Claims and leases: a worker holds a shard for a while, and extends that with each heartbeat."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Project, Run, Shard
from db.repositories import batch_events, batches, results
from db.shards import states
from db.shards.fences import Fence, clock, is_any_of


class Origin(NamedTuple):
    """The batch of a shard, and the ids of the request that planned it."""

    batch_code: str | None
    request_id: str | None
    trace_context: str | None  # of ``services/shared/tracing.py``


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
    UNSURE = "unsure"  # no heartbeat got through for a whole lease: another worker may have it
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
    """Assign queued shards to a worker for one lease; batch and shards must be locked.

    Runs whose result has appeared since planning are linked to it, unless the batch recomputes
    everything. A shard with no other runs is done and is not claimed.
    """
    now = clock(session)
    runs = _link_known(session, batch, waiting, now)
    taken = [shard for shard in waiting if runs[shard.id]]
    for shard in waiting:
        if not runs[shard.id]:
            states.take_step(shard, states.FIND, finished_at=now)
            batch_events.add(session, batch, "shard.done", shard_id=str(shard.id))
    if not taken:
        batches.settle(session, batch)
        return []
    if batch.state == "queued":
        batch.state = "running"
    batch.claimed_at = now
    for shard in taken:
        states.take_step(
            shard,
            states.CLAIM,
            worker=worker,
            worker_pid=worker_pid,
            lease_until=now + datetime.timedelta(seconds=lease_seconds),
            started_at=now,
        )
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
    """Extend the leases of a live worker, and store the progress that watchers see.

    It writes only rows of shards, in the order in which everybody locks them, so that heartbeats
    cannot deadlock. All fences are of one batch; LOST if none of them still holds.
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
        .where(is_any_of(fences), Shard.state == states.RUNNING)
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
    """What :func:`extend` would answer, without writing: cheap enough to be called often."""
    query = sa.select(Batch.cancel_requested_at).join(Shard, Shard.batch_id == Batch.id)
    found = session.scalars(query.where(is_any_of(fences), Shard.state == states.RUNNING).limit(1))
    return _grip(found.all())


def _grip(cancels: Sequence[datetime.datetime | None]) -> Grip:
    if not cancels:
        return Grip.LOST
    return Grip.HELD if cancels[0] is None else Grip.CANCELLED


def origin_of(session: Session, shard_id: uuid.UUID) -> Origin:
    """The origin of a shard, for logs and traces; empty if the shard is gone."""
    query = sa.select(Batch.code, Batch.request_id, Batch.trace_context)
    row = session.execute(
        query.join(Shard, Shard.batch_id == Batch.id).where(Shard.id == shard_id)
    ).one_or_none()
    return Origin(None, None, None) if row is None else Origin(*row)


def _link_known(
    session: Session, batch: Batch, waiting: Sequence[Shard], now: datetime.datetime
) -> dict[uuid.UUID, list[Run]]:
    """Link open runs to results that have appeared; answers the runs left to compute, by shard."""
    open_runs = {
        shard.id: [run for run in shard.runs if run.state in states.OPEN] for shard in waiting
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
                # To the project it looks computed: it must not learn that another one had it.
                run.shard = None
            batch_events.add_run(session, batch, run)
    return open_runs

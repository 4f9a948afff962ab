"""Which waiting shard a worker gets: the most urgent, and in turn between projects.

A message is only a nudge: whoever gets one takes the best shard there is,
whichever shard the message was sent for. The order:

1. the batch with the highest priority;
2. the project with the fewest running shards, so that idle workers go where
   least is done;
3. the project that was served longest ago, so that even one worker alone takes
   turns;
4. the oldest batch of that project, and its oldest waiting shard.

The choice is made among batches, of which few are open, not among shards, of
which a hundred thousand may wait.

Shards that are computed in less time than it takes to hand them out are taken
several at once, as a handful.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from db.models import Batch, Shard
from db.repositories import batches
from db.repositories.simulators import all_names, needed
from db.shards import fences, leases, states
from db.shards.leases import Claim

HANDFUL_SHARDS = 16
HANDFUL_EVENTS = 2**18
"""At most this many events × runs in a handful: some hundredths of a second. A single shard may be
larger."""


def claim_handful(
    session: Session,
    *,
    worker: str,
    worker_pid: int,
    simulators: Collection[str],
    lease_seconds: float,
    shards_max: int = HANDFUL_SHARDS,
) -> list[Claim]:
    """Takes the best waiting shard that one of these simulators may compute, for a lease.

    If it is small, the next small ones of its batch come with it, at most ``shards_max``. A shard
    that was lost before is taken alone, so that poison takes nobody along twice.

    Empty: nothing waits; or the results of the shards that did have appeared
    since, so that they are done without computing. Shards planned for another
    simulator are left to workers that have it.
    """
    names = all_names(simulators)
    exhausted: set[uuid.UUID] = set()
    while (batch_id := _best_batch(session, names, exhausted)) is not None:
        savepoint = session.begin_nested()
        # Batch before shard, like everybody; a claim that comes second waits here and looks anew.
        batch = batches.lock(session, batch_id)
        waiting = _first_waiting(session, batch, names, shards_max)
        if waiting:
            claims = leases.take(
                session,
                batch,
                waiting,
                worker=worker,
                worker_pid=worker_pid,
                lease_seconds=lease_seconds,
            )
            savepoint.commit()
            return claims
        # Somebody took the last one. Rolling back lets go of the batch: holding one while waiting
        # for the next would be a deadlock in the making.
        savepoint.rollback()
        exhausted.add(batch_id)
    return []


def held_by(session: Session, worker: str, worker_pid: int) -> list[fences.Fence]:
    """The shards that this process of this worker has claimed and not yet ended."""
    query = sa.select(Shard.id, Shard.attempt).where(
        Shard.state == states.RUNNING, Shard.worker == worker, Shard.worker_pid == worker_pid
    )
    return [fences.Fence(row.id, row.attempt) for row in session.execute(query)]


def processes_of(session: Session, worker: str) -> set[int]:
    """The processes of this worker that have claimed shards and not yet ended them."""
    query = sa.select(Shard.worker_pid).where(
        Shard.state == states.RUNNING, Shard.worker == worker, Shard.worker_pid.is_not(None)
    )
    return set(session.scalars(query.distinct()))


def _first_waiting(
    session: Session, batch: Batch, names: Collection[str], shards_max: int
) -> list[Shard]:
    if batch.is_over or batch.cancel_requested_at is not None:
        return []
    query = (
        sa.select(Shard)
        .where(
            Shard.batch_id == batch.id,
            Shard.state == states.QUEUED,
            sa.func.coalesce(Shard.simulator_digest, batch.simulator_digest).in_(names),
        )
        .order_by(Shard.id)
        .limit(shards_max)
        .options(selectinload(Shard.runs))
        .with_for_update(of=Shard, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return _handful(session.scalars(query).all())


def _handful(waiting: Sequence[Shard]) -> list[Shard]:
    """The first shard, and those after it while all of them together stay small."""
    taken: list[Shard] = []
    events = 0
    for shard in waiting:
        events += max(shard.events_total, shard.trace.work) * len(shard.runs)
        if taken and (events > HANDFUL_EVENTS or shard.lost_count):
            break
        taken.append(shard)
        if shard.lost_count:
            break
    return taken


def _best_batch(
    session: Session, names: Collection[str], exhausted: Collection[uuid.UUID]
) -> uuid.UUID | None:
    running = (
        sa.select(Shard.project_id, sa.func.count().label("count"))
        .where(Shard.state == states.RUNNING)
        .group_by(Shard.project_id)
        .subquery()
    )
    is_open = Batch.state.in_(("queued", "running"))
    served = (
        sa.select(Batch.project_id, sa.func.max(Batch.claimed_at).label("at"))
        .where(is_open)
        .group_by(Batch.project_id)
        .subquery()
    )
    waits = sa.exists().where(
        Shard.batch_id == Batch.id,
        Shard.state == states.QUEUED,
        needed().in_(names),
    )
    query = (
        sa.select(Batch.id)
        .outerjoin(running, running.c.project_id == Batch.project_id)
        .outerjoin(served, served.c.project_id == Batch.project_id)
        .where(
            is_open,
            Batch.cancel_requested_at.is_(None),
            Batch.id.not_in(exhausted),
            waits,
        )
        .order_by(
            Batch.priority.desc(),
            sa.func.coalesce(running.c.count, 0),
            served.c.at.asc().nulls_first(),
            Batch.id,
        )
        .limit(1)
    )
    return session.scalar(query)

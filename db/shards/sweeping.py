"""What the sweep looks for: shards whose holder is gone, messages that were lost.

Every condition is asked of the database's clock and asked again under the
lock, so several sweeps at once do no harm.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Shard, Simulator, Worker
from db.repositories import operations, simulators
from db.shards import endings, states
from db.shards.fences import Fence, held
from db.shards.messages import ShardMessage

SIMULATOR_ABSENT_SECONDS = 120
"""How long a batch waits for a worker with the simulator it was planned for."""


@dataclasses.dataclass(frozen=True)
class Abandoned:
    """A shard nobody works on any more, and who held it."""

    fence: Fence
    worker: str


def abandoned(session: Session, *, limit: int = 100) -> list[Abandoned]:
    """Running shards whose lease has run out, or whose worker is known to have ended."""
    query = (
        sa.select(Shard.id, Shard.attempt, Shard.worker)
        .where(Shard.state == states.RUNNING, _is_abandoned())
        .order_by(Shard.lease_until)
        .limit(limit)
    )
    return [
        Abandoned(Fence(row.id, row.attempt), row.worker or "") for row in session.execute(query)
    ]


def take_from_lost(session: Session, fence: Fence, error: str) -> ShardMessage | None:
    """Gives an abandoned shard back, if it is still abandoned now that it is locked."""
    found = held(session, fence)
    if found is None:
        return None
    batch, shard = found
    still = session.scalar(sa.select(_is_abandoned()).where(Shard.id == shard.id))
    if not still:
        return None
    told_to_stop = session.scalar(
        sa.select(Worker.ended_in_order).where(Worker.name == shard.worker)
    )
    message = endings.requeue(
        session, batch, shard, error, counts_as_loss=not told_to_stop, is_death=True
    )
    operations.count(session, operations.LEASES_EXPIRED)
    return message


def queued_count(session: Session) -> int:
    """How many shards wait for a worker."""
    query = sa.select(sa.func.count()).select_from(Shard).where(Shard.state == states.QUEUED)
    return session.scalar(query) or 0


def stale_messages(
    session: Session, *, older_than_seconds: float, limit: int = 1000
) -> list[ShardMessage]:
    """Queued shards whose message was sent so long ago that it may be lost.

    They count as sent again from now on.
    """
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
    wanted = (
        sa.select(Shard.id)
        .where(
            Shard.state == states.QUEUED,
            sa.or_(Shard.published_at.is_(None), Shard.published_at < oldest),
        )
        .order_by(Shard.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(
        sa.update(Shard)
        .where(Shard.id.in_(wanted.scalar_subquery()))
        .values(published_at=sa.func.now())
        .returning(Shard.id, Shard.attempt)
        .execution_options(synchronize_session=False)
    )
    return [ShardMessage(row.id, row.attempt) for row in rows]


def orphan(
    session: Session, *, after_seconds: float = SIMULATOR_ABSENT_SECONDS
) -> tuple[Batch, dict[str, str]] | None:
    """The oldest batch that waits for a simulator no worker has had for a while, locked.

    With those it can go on with, by engine: of the worker that started last, if it lives.
    None, if there is no such batch, or nobody is alive who could compute it: they may come yet.
    One that is locked by somebody else, or that a worker has a part of, is left to the next sweep.
    """
    alive = simulators.of_workers(session, simulators.is_alive())
    if not alive:
        return None
    present = simulators.current(session).items()
    successors = {engine: digest for engine, digest in present if digest in alive}
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, after_seconds)
    served = simulators.of_workers(session, Worker.heartbeat_at > oldest)
    served.update(simulators.all_names(successors.values()))
    part = sa.select(Shard.id).where(Shard.batch_id == Batch.id).correlate(Batch)
    query = (
        sa.select(Batch)
        .where(
            Batch.state.in_(("queued", "running")),
            Batch.created_at < oldest,
            Batch.cancel_requested_at.is_(None),
            sa.exists(
                part.join(Simulator, Simulator.digest == simulators.needed()).where(
                    Shard.state == states.QUEUED,
                    Simulator.digest.not_in(served),
                    Simulator.engine.in_(successors),
                )
            ),
            ~sa.exists(part.where(Shard.state == states.RUNNING)),
        )
        .order_by(Batch.id)
        .limit(1)
        .with_for_update(of=Batch, skip_locked=True)
    )
    batch = session.scalars(query).one_or_none()
    if batch is None:
        return None
    return batch, {
        engine: successors[engine]
        for engine, digest in batch.simulators.items()
        if digest not in served and engine in successors
    }


def _is_abandoned() -> sa.ColumnElement[bool]:
    ended = sa.exists().where(Worker.name == Shard.worker, Worker.ended_at.is_not(None))
    return sa.or_(Shard.lease_until < sa.func.clock_timestamp(), ended)

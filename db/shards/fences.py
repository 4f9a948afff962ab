"""The fence (shard id, attempt), and the order of locks: the batch before its shards.

Only the database's clock is asked, so workers need not agree on the time.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from db.models import Batch, Shard
from db.repositories import batches
from db.shards import states


@dataclasses.dataclass(frozen=True)
class Fence:
    """The right to write for a shard, as long as the row still has this attempt."""

    shard_id: uuid.UUID
    attempt: int


def held(session: Session, fence: Fence) -> tuple[Batch, Shard] | None:
    """Batch and shard, locked in this order; None unless the shard still runs as that attempt."""
    batch, found = locked_together(session, [fence])
    shard = found.get(fence)
    if batch is None or shard is None or shard.state != states.RUNNING:
        return None
    return batch, shard


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
        .where(is_any_of(fences))
        .order_by(Shard.id)
        .options(selectinload(Shard.runs))
        .with_for_update(of=Shard)
        .execution_options(populate_existing=True)
    )
    return batch, {Fence(row.id, row.attempt): row for row in session.scalars(query)}


def is_any_of(fences: Sequence[Fence]) -> sa.ColumnElement[bool]:
    """A condition: the shard is one of these, and still has that attempt."""
    keys = [(fence.shard_id, fence.attempt) for fence in fences]
    return sa.tuple_(Shard.id, Shard.attempt).in_(keys)


def clock(session: Session) -> datetime.datetime:
    """The database's clock, as a value: rows with expressions would be written one by one."""
    now: datetime.datetime = session.scalars(sa.select(sa.func.clock_timestamp())).one()
    return now

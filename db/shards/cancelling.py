"""Cancelling a batch: waiting shards end at once, running ones at their next heartbeat."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.models import Batch, Shard
from db.repositories import batch_events, batches
from db.shards import endings, states


def cancel(session: Session, batch_id: uuid.UUID) -> Batch:
    """Cancel a batch: waiting shards end at once, running ones at their next heartbeat.

    Raises:
        NotFound: there is no such batch.
        Conflict: it is over, so there is nothing to cancel.
    """
    batches.get(session, batch_id)
    batch = batches.lock(session, batch_id)
    if batch.state == "cancelled":
        return batch
    if batch.is_over:
        raise Conflict(f"batch {batch.code} is {batch.state} already: nothing to cancel")
    if batch.cancel_requested_at is None:
        batch.cancel_requested_at = session.scalar(sa.select(sa.func.now()))
        batch_events.add(session, batch, "batch.cancel_requested")
    waiting = sa.select(Shard).where(Shard.batch_id == batch_id, Shard.state == states.QUEUED)
    for shard in session.scalars(waiting.with_for_update(of=Shard)).unique():
        endings.cancel_shard(session, batch, shard)
    batches.settle(session, batch)
    return batch

"""From which snapshot a shard's next attempt resumes; the file is in the snapshot store."""

from __future__ import annotations

import uuid
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Shard
from db.repositories import batch_events
from db.shards import states
from db.shards.fences import Fence, held, is_any_of


def keep(session: Session, fence: Fence, digest: str, events: int) -> bool:
    """Let the next attempt resume from there; False if the fence no longer holds.

    Like a heartbeat it touches no row but the shard's.
    """
    found = session.execute(
        sa.update(Shard)
        .where(is_any_of([fence]), Shard.state == states.RUNNING)
        .values(snapshot_digest=digest, snapshot_events=events)
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    return found.one_or_none() is not None


def refuse(session: Session, fence: Fence, reason: str) -> None:
    """Drop a snapshot that cannot be used: the attempt starts over, and watchers see why."""
    found = held(session, fence)
    if found is None:
        return
    batch, shard = found
    shard.snapshot_digest = shard.snapshot_events = None
    session.flush()
    batch_events.add(session, batch, "shard.snapshot_refused", shard_id=str(shard.id), error=reason)


def wanted(session: Session, shard_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The snapshots that open shards among these would resume from."""
    query = sa.select(Shard.id, Shard.snapshot_digest).where(
        Shard.id.in_(shard_ids),
        Shard.state.in_(states.OPEN),
        Shard.snapshot_digest.is_not(None),
    )
    return {row.id: row.snapshot_digest for row in session.execute(query)}

"""What a shard's row says of its snapshot, written under the fence."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Shard
from db.repositories import batch_events, shards
from db.repositories.shards import Fence


def keep(session: Session, fence: Fence, digest: str, events: int) -> bool:
    """The next attempt is to go on from there; False if the fence no longer holds.

    Like a heartbeat it touches no row but the shard's.
    """
    found = session.execute(
        sa.update(Shard)
        .where(Shard.id == fence.shard_id, Shard.attempt == fence.attempt, Shard.state == "running")
        .values(snapshot_digest=digest, snapshot_events=events)
        .returning(Shard.id)
        .execution_options(synchronize_session=False)
    )
    return found.one_or_none() is not None


def refuse(session: Session, fence: Fence, reason: str) -> None:
    """The snapshot cannot be used: the attempt starts from the beginning, and watchers hear why."""
    batch, shard = shards.locked(session, fence)
    if batch is None or shard is None or shard.state != "running":
        return
    shard.snapshot_digest = shard.snapshot_events = None
    session.flush()
    batch_events.add(session, batch, "shard.snapshot_refused", shard_id=str(shard.id), error=reason)

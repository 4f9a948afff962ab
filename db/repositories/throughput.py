"""How fast workers have been of late: what estimates are made of."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Run, Shard, Trace

RECENT_SHARDS = 100


def events_per_second(session: Session) -> float | None:
    """Events × variants a worker replays in a second, over recent shards of all projects.

    None while there are none. Waiting in the queue does not count, decoding does.
    """
    seconds = sa.extract("epoch", Shard.finished_at - Shard.started_at)
    runs = (
        sa.select(sa.func.count())
        .select_from(Run)
        .where(Run.shard_id == Shard.id)
        .scalar_subquery()
    )
    recent = (
        sa.select((Trace.event_count * runs).label("events"), seconds.label("seconds"))
        .select_from(Shard)
        .join(Trace, Trace.id == Shard.trace_id)
        .where(Shard.state == "done", Shard.started_at.is_not(None))
        .order_by(Shard.finished_at.desc())
        .limit(RECENT_SHARDS)
        .subquery()
    )
    row = session.execute(
        sa.select(sa.func.sum(recent.c.events), sa.func.sum(recent.c.seconds))
    ).one()
    events, total_seconds = row
    return float(events) / float(total_seconds) if events and total_seconds else None

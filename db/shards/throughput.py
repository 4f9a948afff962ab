"""How fast workers have been of late: what estimates are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Run, Shard, Trace
from db.repositories.simulators import all_names, needed
from db.scope import EVERYWHERE
from db.shards import states

SHARDS_LOOKED_AT = 200
"""The last shards that ended tell how fast workers are; older ones say less about today's."""


@dataclasses.dataclass(frozen=True)
class Throughput:
    """How fast one worker is: events of one variant a second, and from how many shards we know."""

    events_per_second: float
    shard_count: int


def lately(session: Session, digests: Collection[str] | None = None) -> Throughput | None:
    """What the last shards took, of these simulators or of any; None if none has been recorded.

    Of all projects: how fast a worker is, is nobody's secret. Waiting in the queue does not
    count, decoding does.
    """
    run_count = (
        sa.select(sa.func.count())
        .select_from(Run)
        .where(Run.shard_id == Shard.id, Run.found.is_(False))
        .correlate(Shard)
        .scalar_subquery()
    )
    # Uploads of before it was told weigh as many as they have.
    work = sa.func.coalesce(Trace.statistics["work"].astext.cast(sa.BigInteger), Shard.events_total)
    last = (
        sa.select(
            (work * run_count).label("events"),
            sa.func.extract("epoch", Shard.finished_at - Shard.started_at).label("seconds"),
        )
        .join(Batch, Batch.id == Shard.batch_id)
        .join(Trace, Trace.id == Shard.trace_id)
        .where(
            Shard.state == states.DONE,
            Shard.started_at.is_not(None),
            sa.true() if digests is None else needed().in_(all_names(digests)),
        )
        .order_by(Shard.finished_at.desc())
        .limit(SHARDS_LOOKED_AT)
        .subquery()
    )
    query = sa.select(
        sa.func.sum(last.c.events), sa.func.sum(last.c.seconds), sa.func.count()
    ).where(last.c.events > 0)
    events, seconds, shard_count = session.execute(query.execution_options(**EVERYWHERE)).one()
    if not events or not seconds:
        return None
    return Throughput(float(events) / float(seconds), shard_count)

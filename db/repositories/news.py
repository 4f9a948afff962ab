"""What changed in a project since a time."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Trace

NAMED_MAX = 5


@dataclasses.dataclass(frozen=True)
class News:
    """How many batches were submitted and ended and traces uploaded, and the last of them."""

    submitted_count: int
    ended_count: int
    open_count: int
    ended: Sequence[Batch]
    trace_count: int
    traces: Sequence[Trace]


def since(session: Session, moment: datetime.datetime | None, *, named: int = NAMED_MAX) -> News:
    """The news of the session's project since a moment; None: of all time."""

    def later(column: Any) -> sa.ColumnElement[bool]:
        found: sa.ColumnElement[bool] = column.is_not(None) if moment is None else column > moment
        return found

    ended = (
        sa.select(Batch)
        .where(later(Batch.finished_at))
        .order_by(Batch.finished_at.desc(), Batch.id.desc())
        .limit(named)
    )
    added = sa.select(Trace).where(later(Trace.created_at)).order_by(Trace.id.desc()).limit(named)
    is_new, is_over = later(Batch.created_at), later(Batch.finished_at)
    is_open = Batch.state.in_(("queued", "running"))
    every = sa.func.count()
    counts = sa.select(every.filter(is_new), every.filter(is_over), every.filter(is_open))
    batches = counts.select_from(Batch).where(sa.or_(is_new, is_over, is_open))
    uploads = sa.select(sa.func.count()).select_from(Trace).where(later(Trace.created_at))
    submitted_count, ended_count, open_count = session.execute(batches).one()
    return News(
        submitted_count=submitted_count,
        ended_count=ended_count,
        open_count=open_count,
        ended=session.scalars(ended).all() if named else (),
        trace_count=session.scalar(uploads) or 0,
        traces=session.scalars(added).all() if named else (),
    )

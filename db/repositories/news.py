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

    def count(model: type[Batch | Trace], column: Any) -> int:
        query = sa.select(sa.func.count()).select_from(model).where(later(column))
        return session.scalar(query) or 0

    ended = (
        sa.select(Batch)
        .where(later(Batch.finished_at))
        .order_by(Batch.finished_at.desc(), Batch.id.desc())
        .limit(named)
    )
    added = sa.select(Trace).where(later(Trace.created_at)).order_by(Trace.id.desc()).limit(named)
    is_open = Batch.state.in_(("queued", "running"))
    return News(
        submitted_count=count(Batch, Batch.created_at),
        ended_count=count(Batch, Batch.finished_at),
        open_count=session.scalar(sa.select(sa.func.count()).select_from(Batch).where(is_open))
        or 0,
        ended=session.scalars(ended).all() if named else (),
        trace_count=count(Trace, Trace.created_at),
        traces=session.scalars(added).all() if named else (),
    )

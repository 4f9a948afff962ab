"""One page of a list: rows after a cursor, newest first, in the order of their ids."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import Base

PAGE_SIZE = 50
PAGE_SIZE_MAX = 500

RowT = TypeVar("RowT", bound=Base)


@dataclasses.dataclass(frozen=True)
class Page(Generic[RowT]):
    """Some rows, and the id to ask from for more; None when there are no more."""

    rows: Sequence[RowT]
    next_cursor: uuid.UUID | None


def newest_first(
    session: Session,
    query: sa.Select[RowT],
    row_id: InstrumentedAttribute[uuid.UUID],
    *,
    after: uuid.UUID | None,
    limit: int,
) -> Page[RowT]:
    """The ``limit`` newest rows of ``query`` that are older than ``after``.

    Ids are UUIDv7, so their order is that of creation and no offset is counted.
    """
    limit = max(1, min(limit, PAGE_SIZE_MAX))
    if after is not None:
        query = query.where(row_id < after)
    rows = session.scalars(query.order_by(row_id.desc()).limit(limit + 1)).unique().all()
    if len(rows) <= limit:
        return Page(rows, None)
    kept = rows[:limit]
    return Page(kept, getattr(kept[-1], row_id.key))

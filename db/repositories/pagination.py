"""One page of a list: rows after a cursor, newest first, in the order of their ids."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import Base
from refault.errors import InvalidRequest

PAGE_SIZE = 50
PAGE_SIZE_MAX = 500

RowT = TypeVar("RowT", bound=Base)
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Page(Generic[RowT]):
    """Some rows, and the cursor of the next page; None on the last page."""

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

    Ids are UUIDv7, so they are in the order of creation, and no offset is needed.
    """
    return sorted_page(session, query, row_id, (row_id, True), after=after, limit=limit)


def sorted_page(
    session: Session,
    query: sa.Select[RowT],
    row_id: InstrumentedAttribute[uuid.UUID],
    by: tuple[InstrumentedAttribute[Any], bool],
    *,
    after: uuid.UUID | None,
    limit: int,
) -> Page[RowT]:
    """The first ``limit`` rows after the row ``after``, sorted ``by`` a column and then by id.

    ``by`` is the column, and whether its largest value comes first.

    Raises:
        InvalidRequest: the row ``after`` was deleted; not if rows are sorted by id alone.
    """
    column, is_descending = by
    limit = max(1, min(limit, PAGE_SIZE_MAX))
    if after is not None:
        last = after if column is row_id else _value_of(session, column, row_id, after)
        place, here = sa.tuple_(column, row_id), sa.tuple_(last, after)
        query = query.where(place < here if is_descending else place > here)
    order = [each.desc() if is_descending else each.asc() for each in (column, row_id)]
    rows = session.scalars(query.order_by(*order).limit(limit + 1)).unique().all()
    if len(rows) <= limit:
        return Page(rows, None)
    kept = rows[:limit]
    return Page(kept, getattr(kept[-1], row_id.key))


def among(
    column: InstrumentedAttribute[Value], values: Collection[Value]
) -> sa.ColumnElement[bool]:
    """Whether the column is one of the values, sent as one parameter.

    ``in_`` sends one for each: compiling such a statement with 500 takes longer than executing it,
    and each number of values is another statement.
    """
    return column == sa.any_(sa.literal(list(values), ARRAY(column.type)))


def _value_of(
    session: Session,
    column: InstrumentedAttribute[Any],
    row_id: InstrumentedAttribute[uuid.UUID],
    wanted: uuid.UUID,
) -> Any:
    found = session.scalar(sa.select(column).where(row_id == wanted))
    if found is None:
        message = f"cursor {wanted}: that row was deleted; start again with the first page"
        raise InvalidRequest(message)
    return found

"""Files on their way under their digest: known before they are there, so that none is left over."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import Placement


def begin(session: Session, digest: str) -> uuid.UUID:
    """A file of that digest is about to be put in place; commit before it is."""
    row = Placement(id=uuid7(), digest=digest)
    session.add(row)
    session.flush()
    return row.id


def end(session: Session, placement_id: uuid.UUID) -> None:
    """The file has its row, or is gone."""
    session.execute(sa.delete(Placement).where(Placement.id == placement_id))


def overdue(
    session: Session, older_than_seconds: float, *, limit: int = 100
) -> Sequence[tuple[uuid.UUID, str]]:
    """Id and digest of those that nobody will end any more."""
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
    query = (
        sa.select(Placement.id, Placement.digest)
        .where(Placement.created_at < sa.func.now() - age)
        .order_by(Placement.created_at)
        .limit(limit)
    )
    return [(row.id, row.digest) for row in session.execute(query)]

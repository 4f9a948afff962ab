"""Blobs being stored or removed: recorded beforehand, so that a killed process leaves no orphan.

No lock is held while a store works on a file. Instead each move is recorded in a row, written
under the digest's lock: a file is put in place only while it is not being removed, and removed
only while it is not being put in place and no trace, tree or program needs it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.identifiers import uuid7
from db.models import Placement
from db.repositories import files

REMOVAL_SECONDS = 600
"""After this time a removal that has not ended counts as failed."""


def begin(session: Session, digest: str) -> uuid.UUID:
    """Record that a file of that digest is about to be stored; commit before storing it.

    Raises :class:`~db.errors.Conflict` while such a file is being removed.
    """
    files.lock_digest(session, digest)
    leaving = sa.select(Placement.id).where(Placement.digest == digest, Placement.is_removal)
    if session.scalar(leaving.limit(1)) is not None:
        raise Conflict(f"file {digest} is being deleted right now: upload it again in a moment")
    return _add(session, digest, is_removal=False)


def begin_removal(session: Session, digest: str) -> uuid.UUID | None:
    """Record that the file is about to be removed; commit first. The digest must be locked.

    None if it has to stay: a row needs the file, or it is being put in place.
    """
    arriving = sa.select(Placement.id).where(Placement.digest == digest, ~Placement.is_removal)
    is_wanted = session.scalar(arriving.limit(1)) is not None
    if is_wanted or files.is_needed(session, digest):
        return None
    return _add(session, digest, is_removal=True)


def end(session: Session, placement_id: uuid.UUID) -> bool:
    """Record that the file is stored with its row, or removed; False if that was done before."""
    ended = sa.delete(Placement).where(Placement.id == placement_id).returning(Placement.id)
    return session.scalar(ended) is not None


def overdue(
    session: Session, older_than_seconds: float, *, limit: int = 100
) -> Sequence[tuple[uuid.UUID, str]]:
    """Id and digest of placements whose process must have died.

    Removals are overdue sooner, since their files cannot be uploaded again until they end.
    """
    patience = sa.case((Placement.is_removal, REMOVAL_SECONDS), else_=older_than_seconds)
    age = sa.func.make_interval(0, 0, 0, 0, 0, 0, patience)
    query = (
        sa.select(Placement.id, Placement.digest)
        .where(Placement.created_at < sa.func.now() - age)
        .order_by(Placement.created_at)
        .limit(limit)
    )
    return [(row.id, row.digest) for row in session.execute(query)]


def _add(session: Session, digest: str, *, is_removal: bool) -> uuid.UUID:
    row = Placement(id=uuid7(), digest=digest, is_removal=is_removal)
    session.add(row)
    session.flush()
    return row.id

"""The rows of uploads in several requests. Their bytes are in the blob store."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import UploadGone
from db.models import Trace, Tree, Upload
from db.repositories.pagination import PAGE_SIZE, Page, newest_first
from refault.errors import NotFound


def add(session: Session, *, lives_seconds: float, **columns: Any) -> Upload:
    """A new upload without bytes."""
    row = Upload(expires_at=_from_now(lives_seconds), **columns)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, upload_id: uuid.UUID) -> Upload:
    """The upload, in any state.

    Raises:
        NotFound: there is none, or it was deleted.
        UploadGone: it has expired, by the database's clock.
    """
    row = session.scalar(sa.select(Upload).where(Upload.id == upload_id))
    if row is None:
        raise NotFound(f"no upload {upload_id}: it was deleted, or never created")
    if session.scalar(sa.select(row.expires_at < sa.func.now())):
        raise UploadGone(f"upload {upload_id} expired: start a new one")
    return row


def list_page(
    session: Session,
    *,
    digest: str | None = None,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
) -> Page[Upload]:
    """Open resumable uploads, newest first; of the file of that digest only, if given."""
    query = sa.select(Upload).where(Upload.state == "open", Upload.expires_at > sa.func.now())
    if digest is not None:
        query = query.where(Upload.digest == digest)
    return newest_first(session, query, Upload.id, after=after, limit=limit)


def is_under_way(session: Session, digest: str) -> bool:
    """Whether an unfinished upload is declared to be the file of that digest."""
    query = sa.select(Upload.id).where(
        Upload.digest == digest, Upload.state == "open", Upload.expires_at > sa.func.now()
    )
    return session.scalar(query.limit(1)) is not None


def under_way(session: Session) -> tuple[int, int]:
    """The number of the project's unfinished uploads, and their bytes when finished."""
    query = sa.select(
        sa.func.count(Upload.id), sa.func.coalesce(sa.func.sum(Upload.size_bytes), 0)
    ).where(Upload.state == "open", Upload.expires_at > sa.func.now())
    upload_count, size_bytes = session.execute(query).one()
    return int(upload_count), int(size_bytes)


def advance(session: Session, row: Upload, offset_bytes: int, *, lives_seconds: float) -> None:
    """Record that the bytes before ``offset_bytes`` are safe, and postpone the expiry."""
    session.execute(
        sa.update(Upload)
        .where(Upload.id == row.id)
        .values(offset_bytes=offset_bytes, expires_at=_from_now(lives_seconds))
    )


def finish(session: Session, row: Upload, trace: Trace) -> None:
    """Record that the upload became a trace, in the transaction that writes that trace."""
    session.execute(
        sa.update(Upload)
        .where(Upload.id == row.id)
        .values(state="done", offset_bytes=row.size_bytes, trace_id=trace.id)
    )


def finish_tree(session: Session, row: Upload, tree: Tree) -> None:
    """Record that the upload became a tree, in the transaction that writes that tree."""
    session.execute(
        sa.update(Upload)
        .where(Upload.id == row.id)
        .values(state="done", offset_bytes=row.size_bytes, tree_id=tree.id, digest=tree.digest)
    )


def refuse(session: Session, row: Upload, error: str, offset: int | None) -> None:
    """End the upload; the reason stays until it expires, for a sender who missed the answer."""
    session.execute(
        sa.update(Upload)
        .where(Upload.id == row.id)
        .values(state="refused", error=error, error_offset=offset)
    )


def remove(session: Session, upload_id: uuid.UUID) -> None:
    """Delete the upload's row."""
    session.execute(sa.delete(Upload).where(Upload.id == upload_id))


def expired(session: Session, *, limit: int = 1000) -> list[uuid.UUID]:
    """Expired uploads."""
    query = sa.select(Upload.id).where(Upload.expires_at < sa.func.now()).limit(limit)
    return list(session.scalars(query))


def with_bytes(session: Session, among: list[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these uploads may still need their bytes."""
    query = sa.select(Upload.id).where(Upload.id.in_(among), Upload.state == "open")
    return set(session.scalars(query))


def _from_now(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)

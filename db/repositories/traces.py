"""Traces by id and digest, and their registration."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import BatchTrace, Run, Shard, Trace
from db.repositories import projects
from db.repositories.pages import PAGE_SIZE, Page, newest_first
from db.scope import EVERYWHERE, project_of
from refault.errors import Conflict, NotFound

SHORT_DIGEST_LENGTH = 8


def add(session: Session, **columns: Any) -> tuple[Trace, bool]:
    """Registers a trace; answers its row and whether it is new.

    Two uploads of the same file to one project at once give one row: the unique digest decides.
    Raises :class:`~refault.errors.QuotaExceeded` for a new one where the project is full.
    """
    project_id = project_of(session)
    if find_by_digest(session, columns["digest"]) is None:
        projects.check_room_for_trace(session, columns["size_bytes"])
    statement = (
        insert(Trace)
        .values(id=uuid7(), project_id=project_id, **columns)
        .on_conflict_do_nothing(index_elements=[Trace.project_id, Trace.digest])
        .returning(Trace.id)
    )
    created = session.scalar(statement) is not None
    row = find_by_digest(session, columns["digest"])
    if row is None:
        message = f"trace {columns['digest']} was deleted while it was uploaded: upload it again"
        raise Conflict(message)
    return row, created


def lock_digest(session: Session, digest: str) -> None:
    """Holds the digest until the transaction ends, so that a file and its row come and go together.

    Whoever puts a blob in place or removes one takes this first.
    """
    lock_key = int.from_bytes(bytes.fromhex(digest[:16]), signed=True)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key)))


def find_by_digest(session: Session, digest: str) -> Trace | None:
    """The trace of that digest, or None."""
    return session.scalar(sa.select(Trace).where(Trace.digest == digest))


def is_anywhere(session: Session, digest: str) -> bool:
    """Whether any project has a trace of that digest, and so needs its file."""
    query = sa.select(Trace.id).where(Trace.digest == digest).limit(1)
    return session.scalar(query.execution_options(**EVERYWHERE)) is not None


def get(session: Session, name: str | uuid.UUID) -> Trace:
    """The trace of that id or digest; a digest may be shortened to 8 characters or more.

    Raises:
        NotFound: no trace has it.
        Conflict: the shortened digest fits several traces.
    """
    row_id = _as_uuid(name)
    if row_id is not None:
        found = session.get(Trace, row_id)
        if found is None:
            raise NotFound(f"no trace {name}: GET /api/v1/traces lists what is here")
        return found
    digest = str(name).lower()
    rows: list[Trace] = []
    if len(digest) >= SHORT_DIGEST_LENGTH and set(digest) <= set("0123456789abcdef"):
        query = sa.select(Trace).where(Trace.digest.startswith(digest, autoescape=True))
        rows = list(session.scalars(query.limit(2)))
    if not rows:
        raise NotFound(f"no trace {name}: upload it, or list what is here")
    if len(rows) > 1:
        raise Conflict(f"digest {digest} fits several traces: give more of its characters")
    return rows[0]


def list_page(
    session: Session, *, after: uuid.UUID | None = None, limit: int = PAGE_SIZE
) -> Page[Trace]:
    """Traces, newest first."""
    return newest_first(session, sa.select(Trace), Trace.id, after=after, limit=limit)


def delete(session: Session, trace: Trace) -> None:
    """Removes the row of a trace no batch refers to; raises :class:`Conflict` otherwise."""
    for model in (BatchTrace, Run, Shard):
        if session.scalar(sa.select(sa.exists().where(model.trace_id == trace.id))):
            raise Conflict(f"trace {trace.digest} is part of a batch and stays")
    session.delete(trace)
    session.flush()


def _as_uuid(name: str | uuid.UUID) -> uuid.UUID | None:
    if isinstance(name, uuid.UUID):
        return name
    try:
        return uuid.UUID(name) if "-" in name else None
    except ValueError:
        return None

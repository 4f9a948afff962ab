"""Notes of a project: written, listed with the names of their places, changed, deleted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import QuotaExceeded
from db.models import Batch, BatchColumn, Note, Trace
from db.repositories.pagination import Page, among, newest_first
from refault.errors import NotFound

NOTES_MAX = 5_000
"""Notes of one project."""


class Place(NamedTuple):
    """A place with notes: a cell of a batch, or a patch."""

    trace: str | None
    variant: str | None
    patch: str | None
    note_count: int


class Names(NamedTuple):
    """What a note's cell is called; None for notes on patches, and where it was deleted."""

    batch: str | None = None
    trace: str | None = None
    column: str | None = None


def add(session: Session, note: Note) -> Note:
    """Keeps a new note; raises QuotaExceeded."""
    count = session.scalar(sa.select(sa.func.count()).select_from(Note)) or 0
    if count >= NOTES_MAX:
        raise QuotaExceeded(f"the project has {count} notes, the most it may have")
    session.add(note)
    session.flush()
    session.refresh(note)
    return note


def get(session: Session, row_id: uuid.UUID) -> Note:
    """A note by id; raises NotFound."""
    row = session.scalar(sa.select(Note).where(Note.id == row_id))
    if row is None:
        raise NotFound(f"no note {row_id}")
    return row


def list_page(
    session: Session,
    *,
    batch: Batch | None = None,
    trace: str | None = None,
    variant: str | None = None,
    patch: str | None = None,
    after: uuid.UUID | None = None,
    limit: int,
) -> Page[Note]:
    """Notes, newest first: of a batch or of some of its cells, of a patch, or all of the project.

    ``trace`` and ``variant`` are digests.
    """
    query = sa.select(Note)
    if batch is not None:
        query = query.where(Note.batch_id == batch.id)
    if trace is not None:
        query = query.where(Note.trace_digest == trace)
    if variant is not None:
        query = query.where(Note.variant_digest == variant)
    if patch is not None:
        query = query.where(Note.patch_id == patch)
    return newest_first(session, query, Note.id, after=after, limit=limit)


def places(session: Session, batch: Batch | None) -> list[Place]:
    """Every cell of the batch, and every patch, that has notes, with how many."""
    place = (Note.trace_digest, Note.variant_digest, Note.patch_id)
    is_wanted: sa.ColumnElement[bool] = Note.patch_id.is_not(None)
    if batch is not None:
        is_wanted = sa.or_(is_wanted, Note.batch_id == batch.id)
    query = sa.select(*place, sa.func.count()).where(is_wanted).group_by(*place).order_by(*place)
    return [Place(*row) for row in session.execute(query)]


def names_of(session: Session, rows: Sequence[Note]) -> dict[uuid.UUID, Names]:
    """The names of the notes' places; three queries, however many notes there are."""
    ids = {row.batch_id for row in rows if row.batch_id is not None}
    if not ids:
        return {row.id: Names() for row in rows}
    codes = {
        row.id: row.code
        for row in session.execute(sa.select(Batch.id, Batch.code).where(Batch.id.in_(ids)))
    }
    digests = {row.trace_digest for row in rows}
    traces = {
        row.digest: row.name
        for row in session.execute(
            sa.select(Trace.digest, Trace.name).where(Trace.digest.in_(digests))
        )
    }
    labels: dict[tuple[uuid.UUID, str], list[str]] = {}
    columns = sa.select(BatchColumn.batch_id, BatchColumn.variant_digest, BatchColumn.label)
    variants = {row.variant_digest for row in rows if row.variant_digest is not None}
    # Of a batch of thousands of columns no more than have notes.
    columns = columns.where(
        BatchColumn.batch_id.in_(ids), among(BatchColumn.variant_digest, variants)
    ).order_by(BatchColumn.position)
    for batch_id, variant, label in session.execute(columns):
        labels.setdefault((batch_id, variant), []).append(label)
    return {
        row.id: Names(
            codes.get(row.batch_id),
            traces.get(row.trace_digest),
            ", ".join(labels.get((row.batch_id, row.variant_digest or ""), ())) or None,
        )
        if row.batch_id is not None
        else Names()
        for row in rows
    }

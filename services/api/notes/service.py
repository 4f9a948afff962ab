"""Notes as documents, and as plain text at the end of a report."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import Batch
from db.models import Note as NoteRow
from db.repositories import accounts, batches, comparisons, notes
from refault import catalogue
from refault.compare.notes import PinnedNote, notes_text
from refault.errors import InvalidRequest
from services.api.callers import Caller
from services.api.notes.schemas import Note, NoteBody

_REPORTED_MAX = 200


def make(session: Session, body: NoteBody) -> NoteRow:
    """A new note.

    Raises:
        NotFound: there is no such batch.
        InvalidRequest: the batch has no such cell.
        UnknownPatch: the catalogue has no such patch.
    """
    if body.patch is not None:
        patch = catalogue.get_patch(body.patch)
        return notes.add(session, NoteRow(patch_id=patch.id, text=body.text))
    batch = batches.get(session, str(body.batch))
    digests = {trace.digest for trace in comparisons.traces_of(session, batch.id)}
    variants = {column.variant_digest for column in batch.columns}
    if body.trace not in digests or body.variant not in variants:
        raise InvalidRequest(f"batch {batch.code} has no cell of that trace and that variant")
    return notes.add(
        session,
        NoteRow(
            batch_id=batch.id,
            trace_digest=body.trace,
            variant_digest=body.variant,
            text=body.text,
        ),
    )


def documents_of(session: Session, rows: Sequence[NoteRow], caller: Caller) -> list[Note]:
    """Notes with the names of their places and of who wrote them."""
    names, makers = notes.names_of(session, rows), accounts.makers(session, rows)
    may_all = "admin" in caller.scopes
    return [
        Note(
            id=row.id,
            batch=names[row.id].batch,
            trace=row.trace_digest,
            trace_name=names[row.id].trace,
            variant=row.variant_digest,
            column=names[row.id].column,
            patch=row.patch_id,
            text=row.text,
            made_by=makers.get(row.id),
            is_own=may_all or caller.has_made(row),
            created_at=row.created_at,
            edited_at=row.edited_at,
        )
        for row in rows
    ]


def of_batch(session: Session, batch: Batch) -> list[NoteRow]:
    """The notes on a batch's cells, oldest first; of very many the newest."""
    return list(reversed(notes.list_page(session, batch=batch, limit=_REPORTED_MAX).rows))


def reported(session: Session, batch: Batch) -> str:
    """The notes on a batch's cells as plain text of 72 columns, oldest first; or nothing."""
    rows = of_batch(session, batch)
    names, makers = notes.names_of(session, rows), accounts.makers(session, rows)
    return notes_text(
        [
            PinnedNote(
                names[row.id].column,
                names[row.id].trace,
                row.text,
                makers.get(row.id),
                row.created_at,
            )
            for row in rows
        ]
    )

"""The endpoints under ``/api/v1/notes``."""

import datetime
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from db.repositories import batches, notes
from services.api.deps import WithCaller, WithPage, WithResources
from services.api.idempotency import OnceRoute
from services.api.notes import service
from services.api.notes.schemas import Note, NoteBody, NoteChange, NotePlace
from services.api.responses import problems
from services.api.schemas import Digest, Page

router = APIRouter(tags=["notes"], route_class=OnceRoute)


@router.post("/notes", status_code=201, responses=problems(404, 422, 507))
def create_note(
    response: Response, resources: WithResources, caller: WithCaller, body: NoteBody
) -> Note:
    """Pin a note to a cell of a batch, or to a patch; the whole project sees it."""
    with resources.transaction() as session:
        [found] = service.documents_of(session, [service.make(session, body)], caller)
    response.headers["location"] = f"/api/v1/notes/{found.id}"
    return found


@router.get("/notes", responses=problems(404, 422))
def list_notes(
    resources: WithResources,
    caller: WithCaller,
    page: WithPage,
    batch: Annotated[
        str | None, Query(max_length=64, description="Only of that batch: its code or id")
    ] = None,
    trace: Annotated[
        Digest | None, Query(description="Only of cells of the trace with that digest")
    ] = None,
    variant: Annotated[
        Digest | None, Query(description="Only of cells of the variant with that digest")
    ] = None,
    patch: Annotated[str | None, Query(max_length=100, description="Only of that patch")] = None,
) -> Page[Note]:
    """List notes, newest first."""
    with resources.transaction() as session:
        of_batch = None if batch is None else batches.get(session, batch)
        found = notes.list_page(
            session,
            batch=of_batch,
            trace=trace,
            variant=variant,
            patch=patch,
            after=page.cursor,
            limit=page.limit,
        )
        items = service.documents_of(session, found.rows, caller)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/notes/places", responses=problems(404, 422))
def list_note_places(
    resources: WithResources,
    batch: Annotated[
        str | None, Query(max_length=64, description="Also the cells of that batch: its code or id")
    ] = None,
) -> Page[NotePlace]:
    """List the patches, and the cells of a batch, that have notes, with how many."""
    with resources.transaction() as session:
        of_batch = None if batch is None else batches.get(session, batch)
        found = notes.places(session, of_batch)
    return Page(items=[NotePlace.model_validate(each) for each in found], next_cursor=None)


@router.patch("/notes/{note}", responses=problems(403, 404, 422))
def change_note(
    resources: WithResources, caller: WithCaller, note: uuid.UUID, body: NoteChange
) -> Note:
    """Change a note of one's own; a maintainer any."""
    with resources.transaction() as session:
        row = notes.get(session, note)
        caller.check_own(row, "the note")
        row.text = body.text
        row.edited_at = datetime.datetime.now(datetime.UTC)
        session.flush()
        [found] = service.documents_of(session, [row], caller)
        return found


@router.delete("/notes/{note}", status_code=204, responses=problems(403, 404, 422))
def delete_note(resources: WithResources, caller: WithCaller, note: uuid.UUID) -> None:
    """Delete a note of one's own; a maintainer any. The audit log keeps that it was done."""
    with resources.transaction() as session:
        row = notes.get(session, note)
        caller.check_own(row, "the note")
        session.delete(row)

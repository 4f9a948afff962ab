"""The endpoints under ``/api/v1/patch_sets``."""

import uuid
from typing import Annotated

import anyio
from fastapi import APIRouter, Query, Request, Response

from db.repositories import patch_sets, uses
from services.api.deps import FOREVER, REVALIDATE, WithPage, WithResources, unchanged
from services.api.idempotency import OnceRoute
from services.api.patch_sets import mails, service
from services.api.patch_sets.mails import MailReading
from services.api.patch_sets.schemas import PatchSet, PatchSetBody
from services.api.patch_sets.service import document_of, documents_of
from services.api.patches.uses import USES_MAX, Use, of_patch_set, uses_of
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["patch sets"], route_class=OnceRoute)


@router.post(
    "/patch_sets",
    status_code=201,
    responses={
        200: {"model": PatchSet, "description": "This patch set already existed"},
        **problems(404, 409, 422),
    },
)
def create_patch_set(response: Response, resources: WithResources, body: PatchSetBody) -> PatchSet:
    """Create a patch set; the same name and content give the existing one.

    On a kernel (`kernel:NAME`) its own patches are named by number; 409 while it is not built with
    them.
    """
    with resources.transaction() as session:
        row, is_new = service.add(session, body)
        found = document_of(session, row)
    response.headers["location"] = f"/api/v1/patch_sets/{found.id}"
    if not is_new:
        response.status_code = 200
    return found


@router.post(
    "/patch_sets/from_mail",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/mbox": {"schema": {"type": "string", "format": "binary"}},
                "text/x-patch": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
    responses={
        201: {"model": MailReading, "description": "The patch set was created"},
        **problems(413, 422),
    },
)
async def read_patch_set_from_mail(
    request: Request,
    response: Response,
    resources: WithResources,
    *,
    name: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Create a patch set of this series"),
    ] = None,
    base: Annotated[str, Query(description="What the patches apply to")] = "v2.6.34-pre",
    version: Annotated[
        int | None,
        Query(ge=1, description="Version to read if there are several; default: the newest"),
    ] = None,
    mapping: Annotated[
        list[str], Query(alias="map", description="INDEX=PATCH by hand, or INDEX=- to leave out")
    ] = [],  # noqa: B006  # FastAPI copies it
    partial: Annotated[
        bool, Query(description="Create the patch set although mails of the series are missing")
    ] = False,
) -> MailReading:
    """Read a series from an mbox, mails or patch files, also gzipped.

    Each mail is matched to the catalogue by what its diff changes and where. What is not
    matched, left out, missing or mixed is listed with its reason. Without `name` nothing is
    written.
    """
    data = await mails.bounded(aiter(request.stream()))
    reading, ids = await anyio.to_thread.run_sync(
        mails.reading_of, data, version, mails.mapping_of(mapping), limiter=resources.mail_slots
    )
    if name is not None:
        mails.check_whole(reading, partial=partial)
        is_new = await anyio.to_thread.run_sync(mails.make, resources, reading, ids, name, base)
        response.status_code = 201 if is_new else 200
        if reading.patch_set is not None:
            response.headers["location"] = f"/api/v1/patch_sets/{reading.patch_set.id}"
    return reading


@router.get("/patch_sets", responses=problems(422))
def list_patch_sets(
    resources: WithResources,
    page: WithPage,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Part of its name or its series'"),
    ] = None,
    patch: Annotated[
        str | None, Query(max_length=100, description="Those with this patch of the catalogue")
    ] = None,
    base: Annotated[str | None, Query(max_length=200, description="Those on this base")] = None,
    series: Annotated[
        str | None, Query(max_length=200, description="The versions of this series")
    ] = None,
) -> Page[PatchSet]:
    """List patch sets, newest first, or those for which every condition holds."""
    wanted = patch_sets.Filter(q, patch, base, series)
    with resources.transaction() as session:
        found = patch_sets.list_page(session, after=page.cursor, limit=page.limit, wanted=wanted)
        items = documents_of(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/patch_sets/{patch_set}", response_model=PatchSet, responses=problems(404, 422))
def get_patch_set(
    request: Request, response: Response, resources: WithResources, patch_set: uuid.UUID
) -> PatchSet | Response:
    """Get one patch set."""
    with resources.transaction() as session:
        found = document_of(session, patch_sets.get(session, patch_set))
    # A patch set never changes, but its list of siblings may.
    newest = max((sibling.id for sibling in found.siblings), default=found.id)
    tag = f"{found.id}-{len(found.siblings)}-{newest}"
    keep = FOREVER if found.series is None else REVALIDATE
    return unchanged(request, response, tag, keep=keep) or found


@router.get("/patch_sets/{patch_set}/batches", responses=problems(404, 422))
def list_batches_of_patch_set(
    resources: WithResources, page: WithPage, patch_set: uuid.UUID
) -> Page[Use]:
    """List the batches with a column of the patch set, or of a prefix of it, newest first.

    At most 20 at once, each with the verdicts of those columns.
    """
    with resources.transaction() as session:
        patch_sets.get(session, patch_set)
        found = uses.batches_with_patch_set(
            session, patch_set, after=page.cursor, limit=min(page.limit, USES_MAX)
        )
        items = uses_of(session, found.rows, of_patch_set(patch_set))
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))

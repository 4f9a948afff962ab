"""The endpoints under ``/api/v1/bundles``: comparisons of other services."""

import uuid
from functools import partial
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from db.repositories import bundles
from services.api.bundles import service
from services.api.bundles.schemas import BundleDetail, BundleSummary
from services.api.deps import WithCaller, WithPage, WithResources
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["bundles"])

Form = Literal["txt", "md", "csv", "zip"]
_MEDIA_TYPES: dict[Form, str] = {
    "txt": "text/plain; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "zip": "application/zip",
}


@router.post(
    "/bundles",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses={
        200: {"model": BundleSummary, "description": "This project has it already"},
        **problems(413, 422, 503, 507),
    },
)
async def import_bundle(
    request: Request, response: Response, resources: WithResources
) -> BundleSummary:
    """Import the comparison of another service, as its bundle.

    All of it is checked: files, results, and that the verdicts follow from them. Its results stay
    inside of it; they never count as results of this service.
    """
    data = await service.bounded(aiter(request.stream()))
    found, is_new = await anyio.to_thread.run_sync(partial(service.keep, resources, data))
    response.headers["location"] = f"/api/v1/bundles/{found.id}"
    response.status_code = 201 if is_new else 200
    return found


@router.get("/bundles", responses=problems(422))
def list_bundles(resources: WithResources, page: WithPage) -> Page[BundleSummary]:
    """List imported bundles, newest first."""
    with resources.transaction() as session:
        found = bundles.list_page(session, after=page.cursor, limit=page.limit)
        items = service.summaries_of(session, list(found.rows))
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/bundles/{bundle}", responses=problems(404, 422, 503))
def get_bundle(
    resources: WithResources,
    bundle: uuid.UUID,
    trace: Annotated[
        int | None, Query(ge=1, le=10_000, description="Only that trace, counted from 1")
    ] = None,
) -> BundleDetail:
    """Get an imported bundle with its comparison, and which results are the same here."""
    return service.detail_of(resources, bundle, trace)


@router.get(
    "/bundles/{bundle}/comparison",
    response_class=Response,
    responses={
        200: {"description": "The comparison in that format", "content": {"text/plain": {}}},
        **problems(404, 422, 503),
    },
)
def get_bundle_as(
    resources: WithResources,
    bundle: uuid.UUID,
    form: Annotated[Form, Query(alias="format", description="zip: the file itself")] = "txt",
) -> Response:
    """Get an imported bundle's comparison as text, Markdown or CSV, or the file itself."""
    return Response(service.body_of(resources, bundle, form), media_type=_MEDIA_TYPES[form])


@router.delete("/bundles/{bundle}", status_code=204, responses=problems(403, 404, 422))
def delete_bundle(resources: WithResources, caller: WithCaller, bundle: uuid.UUID) -> None:
    """Delete an imported bundle of one's own; a maintainer any."""
    with resources.transaction() as session:
        row = bundles.get(session, bundle)
        caller.check_own(row, "the bundle")
        bundles.delete(session, row)

"""The endpoints under ``/api/v1/patch_sets``."""

import uuid

from fastapi import APIRouter, Request, Response

from db.repositories import patch_sets
from services.api.deps import FOREVER, WithPage, WithResources, unchanged
from services.api.idempotency import OnceRoute
from services.api.patch_sets.schemas import PatchSet, PatchSetBody
from services.api.patch_sets.service import to_catalogue
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["patch sets"], route_class=OnceRoute)


@router.post(
    "/patch_sets",
    status_code=201,
    responses={
        200: {"model": PatchSet, "description": "This patch set was there already"},
        **problems(422),
    },
)
def create_patch_set(response: Response, resources: WithResources, body: PatchSetBody) -> PatchSet:
    """Create a patch set; the same name and content give the one that is there."""
    wanted = to_catalogue(body)
    with resources.transaction() as session:
        row, is_new = patch_sets.add(session, body.name, wanted)
        found = PatchSet.model_validate(row)
    response.headers["location"] = f"/api/v1/patch_sets/{found.id}"
    if not is_new:
        response.status_code = 200
    return found


@router.get("/patch_sets", responses=problems(422))
def list_patch_sets(resources: WithResources, page: WithPage) -> Page[PatchSet]:
    """List patch sets, newest first."""
    with resources.transaction() as session:
        found = patch_sets.list_page(session, after=page.cursor, limit=page.limit)
        items = [PatchSet.model_validate(row) for row in found.rows]
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/patch_sets/{patch_set}", response_model=PatchSet, responses=problems(404, 422))
def get_patch_set(
    request: Request, response: Response, resources: WithResources, patch_set: uuid.UUID
) -> PatchSet | Response:
    """Get one patch set."""
    with resources.transaction() as session:
        found = PatchSet.model_validate(patch_sets.get(session, patch_set))
    return unchanged(request, response, str(found.id), keep=FOREVER) or found

"""The endpoints under ``/api/v1/patches`` and ``/api/v1/bases``."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from db.repositories import uses
from refault import catalogue
from services.api.deps import WithPage, WithResources, unchanged
from services.api.patches import service
from services.api.patches.schemas import Base, Patch
from services.api.patches.service import Wanted
from services.api.patches.uses import USES_MAX, Use, uses_of, with_patch
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["patches"])


@router.get("/patches", responses=problems(422))
def list_patches(
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Part of any of its texts"),
    ] = None,
    author: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Part of its author's name")
    ] = None,
    base: Annotated[str | None, Query(max_length=100, description="Those that apply to it")] = None,
    form_of: Annotated[
        str | None, Query(max_length=100, description="A patch and its other forms")
    ] = None,
    merged: Annotated[bool | None, Query(description="Whether it went into Linux")] = None,
) -> Page[Patch]:
    """List the catalogue, or the patches for which every condition holds."""
    items = service.find(Wanted(q, author, base, form_of, merged))
    return Page(items=items, next_cursor=None)


@router.get("/patches/{patch}", response_model=Patch, responses=problems(404))
def get_patch(request: Request, response: Response, patch: str) -> Patch | Response:
    """Get one patch."""
    found = service.get(patch)
    digest = hashlib.sha256(found.model_dump_json().encode()).hexdigest()
    return unchanged(request, response, digest) or found


@router.get("/patches/{patch}/batches", responses=problems(404, 422))
def list_batches_of_patch(resources: WithResources, page: WithPage, patch: str) -> Page[Use]:
    """List the batches of this project with a column that contains the patch, newest first.

    At most 20 at once, each with the verdicts of those columns.
    """
    service.get(patch)
    with resources.transaction() as session:
        found = uses.batches_with_patch(
            session, patch, after=page.cursor, limit=min(page.limit, USES_MAX)
        )
        items = uses_of(session, found.rows, with_patch(patch))
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/bases")
def list_bases() -> Page[Base]:
    """List the bases patch sets can be applied to."""
    items = [
        Base.model_validate(base.to_dict()) for base in (*catalogue.bases(), catalogue.ARCHITECTURE)
    ]
    return Page(items=items, next_cursor=None)

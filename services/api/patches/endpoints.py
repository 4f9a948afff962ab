"""The endpoints under ``/api/v1/patches`` and ``/api/v1/bases``."""

import hashlib

from fastapi import APIRouter, Request, Response

from refault import catalogue
from refault.errors import NotFound, UnknownPatch
from services.api.deps import unchanged
from services.api.patches.schemas import Base, Patch
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["patches"])


@router.get("/patches")
def list_patches() -> Page[Patch]:
    """List the whole catalogue."""
    items = [Patch.model_validate(catalogue.patch_document(patch)) for patch in catalogue.patches()]
    return Page(items=items, next_cursor=None)


@router.get("/patches/{patch}", response_model=Patch, responses=problems(404))
def get_patch(request: Request, response: Response, patch: str) -> Patch | Response:
    """Get one patch."""
    try:
        found = Patch.model_validate(catalogue.patch_document(catalogue.get_patch(patch)))
    except UnknownPatch as error:
        # Named in the address, so this is 404; named in a body, it is 422.
        raise NotFound(str(error)) from error
    digest = hashlib.sha256(found.model_dump_json().encode()).hexdigest()
    return unchanged(request, response, digest) or found


@router.get("/bases")
def list_bases() -> Page[Base]:
    """List the bases patch sets can be applied to."""
    items = [
        Base.model_validate(base.to_dict()) for base in (*catalogue.bases(), catalogue.ARCHITECTURE)
    ]
    return Page(items=items, next_cursor=None)

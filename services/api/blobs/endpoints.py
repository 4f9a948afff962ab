"""The endpoints under ``/api/v1/blobs``."""

from fastapi import APIRouter, Response

from db.repositories import traces
from refault.errors import NotFound
from services.api.deps import WithResources
from services.api.responses import problems
from services.api.schemas import Digest

router = APIRouter(tags=["blobs"])


@router.head("/blobs/{digest}", responses=problems(404, 422))
def has_blob(resources: WithResources, digest: Digest) -> Response:
    """Ask whether the service has a trace of that digest, before the first byte is sent."""
    with resources.transaction() as session:
        found = traces.find_by_digest(session, digest)
    if found is None or not resources.blobs.exists(digest):
        raise NotFound(f"no blob {digest}: POST /api/v1/traces uploads it")
    return Response(headers={"etag": f'"{digest}"'})

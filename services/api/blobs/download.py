"""``GET /api/v1/blobs/{digest}``: the bytes of a trace, whole or from a byte on."""

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from db.repositories import traces
from refault.errors import NotFound
from services.api.deps import FOREVER, WithResources
from services.api.responses import problems
from services.api.schemas import Digest

router = APIRouter(tags=["blobs"])

MEDIA_TYPE = "application/vnd.refault.trace"


@router.get(
    "/blobs/{digest}",
    response_class=Response,
    responses={
        200: {
            "description": "The trace file",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {"description": "The part that `Range` asks for"},
        **problems(404, 416, 422),
    },
)
def get_blob(resources: WithResources, digest: Digest) -> FileResponse:
    """Download a trace file by its sha256.

    With `Range` a download goes on where it broke off; `If-Range` with the
    digest as ETag always holds, for these bytes never change.
    """
    with resources.transaction() as session:
        if traces.find_by_digest(session, digest) is None:
            raise NotFound(f"no blob {digest}: `GET /api/v1/traces` lists what is here")
    return FileResponse(
        resources.blobs.fetch(digest),
        media_type=MEDIA_TYPE,
        headers={"etag": f'"{digest}"', "cache-control": FOREVER},
    )

"""The endpoints under ``/api/v1/blobs``."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from db.repositories import traces
from refault.errors import NotFound
from services.api.deps import WithResources
from services.api.responses import problems
from services.api.schemas import Digest
from services.api.traces import endpoints as trace_endpoints
from services.api.traces.announcement import Wishes, announced
from services.api.traces.endpoints import WishedName, WishedNote, WishedTags
from services.api.traces.schemas import TraceDetail

router = APIRouter(tags=["blobs"])


@router.head("/blobs/{digest}", responses=problems(404, 422))
def has_blob(resources: WithResources, digest: Digest) -> Response:
    """Check whether the service has a trace of that digest before sending it."""
    with resources.transaction() as session:
        found = traces.find_by_digest(session, digest)
    size_bytes = None if found is None else resources.blobs.size_bytes(digest)
    if size_bytes is None:
        raise NotFound(f"no blob {digest}: PUT it here, or POST /api/v1/traces")
    return Response(
        headers={
            "etag": f'"{digest}"',
            "content-length": str(size_bytes),
            "content-type": trace_endpoints.MEDIA_TYPE,
        }
    )


@router.put(
    "/blobs/{digest}",
    status_code=201,
    openapi_extra=trace_endpoints.UPLOAD_BODY,
    responses={
        200: {"model": TraceDetail, "description": "The service already had this trace"},
        **problems(408, 413, 422, 503, 507),
    },
)
async def put_blob(
    request: Request,
    response: Response,
    resources: WithResources,
    digest: Digest,
    name: WishedName = None,
    tag: WishedTags = None,
    note: WishedNote = "",
    content_digest: Annotated[
        str | None, Header(description="RFC 9530; must match the address")
    ] = None,
) -> TraceDetail:
    """Upload a trace under its sha256, as `curl -T` does.

    It is checked as by `POST /api/v1/traces`. An existing blob is replaced by the same bytes,
    which repairs a damaged file.
    """
    announcement = announced(
        Wishes(name, tuple(tag or ()), note),
        content_length=request.headers.get("content-length"),
        content_digest=content_digest,
        digest=digest,
    )
    return await trace_endpoints.take(request, response, resources, announcement)

"""The endpoints under ``/api/v1/uploads``: tus 1.0, and two in JSON besides.

Site adds ``Tus-Resumable`` to every answer, errors included.
"""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.exceptions import HTTPException

from db.models import Upload
from db.repositories import uploads
from services.api.deps import Resources, WithCaller, WithPage, WithResources
from services.api.door import caller_of
from services.api.kernels.rights import check_may_build
from services.api.refusals import UploadHeaderInvalid
from services.api.responses import problems
from services.api.schemas import Digest, Page
from services.api.texts import number_in
from services.api.traces import streaming
from services.api.uploads import protocol, service
from services.api.uploads.protocol import Checksum
from services.api.uploads.schemas import UploadDocument
from services.api.uploads.service import Part

AnswerT = TypeVar("AnswerT")


def _speaks(tus_resumable: Annotated[str | None, Header(description="1.0.0")] = None) -> None:
    protocol.check_version(tus_resumable)


def _may_go_on(
    request: Request, resources: WithResources, caller: WithCaller, upload: uuid.UUID
) -> None:
    """Refuses to write to or delete an upload of another caller; also a tree that may not come."""
    with resources.transaction() as session:
        row = uploads.get(session, upload)
    if row.is_tree and request.method != "DELETE":
        check_may_build(resources, caller, "a tree")
    if (row.user_id, row.token_id) != (None, None):
        caller.check_own(row, f"upload {upload}")


router = APIRouter(tags=["uploads"])
SPEAKS = [Depends(_speaks)]
GOES_ON = [*SPEAKS, Depends(_may_go_on)]

ContentLength = Annotated[str | None, Header(include_in_schema=False)]
ContentType = Annotated[str | None, Header(include_in_schema=False)]
UploadChecksum = Annotated[
    str | None, Header(description=f"One of {protocol.CHECKSUM_ALGORITHMS}, and base64")
]
_PART: dict[str, Any] = {
    "requestBody": {
        "description": "The next bytes of the file",
        "content": {protocol.PART_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.options("/uploads", status_code=204)
def upload_protocol(resources: WithResources) -> Response:
    """Get the supported parts of tus."""
    return Response(
        status_code=204,
        headers={
            "tus-extension": protocol.EXTENSIONS,
            "tus-max-size": str(resources.settings.upload_limit_bytes),
            "tus-checksum-algorithm": protocol.CHECKSUM_ALGORITHMS,
        },
    )


@router.post(
    "/uploads",
    status_code=201,
    response_class=Response,
    dependencies=SPEAKS,
    openapi_extra=_PART,
    responses=problems(400, 412, 413, 415, 422, 503, 507),
)
async def create_upload(
    request: Request,
    resources: WithResources,
    upload_length: Annotated[str | None, Header(description="Bytes of the whole file")] = None,
    upload_defer_length: Annotated[str | None, Header(description="Not supported")] = None,
    upload_metadata: Annotated[
        str | None,
        Header(description="`name`, `tags`, `note`, `sha256`, `content`: key and base64 each"),
    ] = None,
    upload_checksum: UploadChecksum = None,
    content_type: ContentType = None,
    content_length: ContentLength = None,
) -> Response:
    """Create an upload, with its first bytes if the request has a body.

    The answer's Location is the address for the rest. With `content` `tree` it is the packed tree
    of a kernel (`refault kernel pack`), which needs the scope `build` too; else a trace.
    """
    if upload_defer_length is not None:
        raise UploadHeaderInvalid("Upload-Defer-Length is not supported: send Upload-Length")
    announced = protocol.read_metadata(upload_metadata)
    if announced.is_tree:
        check_may_build(resources, caller_of(request), "a tree")
    has_body = content_type == protocol.PART_TYPE
    if not has_body and content_length not in {None, "0"}:
        raise HTTPException(415, f"the first bytes must be {protocol.PART_TYPE}")
    part = Part(0, number_in(content_length), Checksum.read(upload_checksum)) if has_body else None
    row = await _in_thread(
        service.create,
        resources,
        size_bytes=protocol.number("Upload-Length", upload_length),
        metadata_header=upload_metadata or "",
        announced=announced,
    )
    if part is not None or row.size_bytes == 0:
        row = await _append(request, resources, row.id, part or Part(0))
    place = {"location": f"/api/v1/uploads/{row.id}"}
    return Response(status_code=201, headers=protocol.described(row) | place)


@router.get("/uploads", responses=problems(422))
def list_uploads(
    resources: WithResources,
    page: WithPage,
    digest: Annotated[Digest | None, Query(description="Only uploads of this file")] = None,
) -> Page[UploadDocument]:
    """List open resumable uploads, newest first."""
    with resources.transaction() as session:
        found = uploads.list_page(session, digest=digest, after=page.cursor, limit=page.limit)
        items = [UploadDocument.model_validate(row) for row in found.rows]
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/uploads/{upload}", responses=problems(404, 410, 422))
def get_upload(resources: WithResources, upload: uuid.UUID, response: Response) -> UploadDocument:
    """Get an upload, also a refused or finished one."""
    response.headers["cache-control"] = "no-store"
    with resources.transaction() as session:
        return UploadDocument.model_validate(uploads.get(session, upload))


@router.head(
    "/uploads/{upload}",
    response_class=Response,
    dependencies=SPEAKS,
    responses=problems(404, 410, 412, 422),
)
def upload_offset(resources: WithResources, upload: uuid.UUID) -> Response:
    """Get the byte to resume at (`Upload-Offset`)."""
    return Response(headers=protocol.described(service.find(resources, upload)))


@router.patch(
    "/uploads/{upload}",
    status_code=204,
    response_class=Response,
    dependencies=GOES_ON,
    openapi_extra=_PART,
    responses=problems(400, 404, 408, 409, 410, 412, 413, 415, 422, 423, 503, 507),
)
async def append_to_upload(
    request: Request,
    resources: WithResources,
    upload: uuid.UUID,
    upload_offset: Annotated[str | None, Header(description="Offset of the first byte")] = None,
    upload_checksum: UploadChecksum = None,
    content_type: ContentType = None,
    content_length: ContentLength = None,
) -> Response:
    """Send the next bytes.

    A bad trace is refused with the byte of the error, and the upload ends. After the last byte the
    header `Refault-Trace` names the trace, or `Refault-Tree` the digest of the tree. A part with a
    wrong checksum is dropped, with a 460.
    """
    if content_type != protocol.PART_TYPE:
        raise HTTPException(415, f"the bytes of an upload must be {protocol.PART_TYPE}")
    part = Part(
        protocol.number("Upload-Offset", upload_offset),
        number_in(content_length),
        Checksum.read(upload_checksum),
    )
    row = await _append(request, resources, upload, part)
    return Response(status_code=204, headers=protocol.described(row))


@router.delete(
    "/uploads/{upload}",
    status_code=204,
    response_class=Response,
    dependencies=GOES_ON,
    responses=problems(404, 410, 412, 422, 423),
)
def end_upload(resources: WithResources, upload: uuid.UUID) -> Response:
    """Abort an upload. What was made of it is kept."""
    service.end(resources, upload)
    return Response(status_code=204)


@router.post(
    "/uploads/{upload}",
    status_code=204,
    response_class=Response,
    dependencies=GOES_ON,
    openapi_extra=_PART,
    responses=problems(400, 404, 405, 408, 409, 410, 412, 413, 415, 422, 423, 503, 507),
)
async def override_method(
    request: Request,
    resources: WithResources,
    upload: uuid.UUID,
    x_http_method_override: Annotated[
        str | None, Header(description="PATCH, HEAD or DELETE, if a proxy blocks these")
    ] = None,
) -> Response:
    """Send PATCH, HEAD or DELETE through a proxy that allows only POST."""
    if x_http_method_override == "PATCH":
        given = request.headers.get
        return await append_to_upload(
            request,
            resources,
            upload,
            upload_offset=given("upload-offset"),
            upload_checksum=given("upload-checksum"),
            content_type=given("content-type"),
            content_length=given("content-length"),
        )
    if x_http_method_override == "HEAD":
        return await _in_thread(upload_offset, resources, upload)
    if x_http_method_override == "DELETE":
        return await _in_thread(end_upload, resources, upload)
    raise HTTPException(405, "X-HTTP-Method-Override must be PATCH, HEAD or DELETE")


async def _append(request: Request, resources: Resources, upload: uuid.UUID, part: Part) -> Upload:
    return await streaming.take(request, resources, service.append(resources, upload, part))


async def _in_thread(do: Callable[..., AnswerT], *arguments: Any, **given: Any) -> AnswerT:
    return await anyio.to_thread.run_sync(partial(do, *arguments, **given))

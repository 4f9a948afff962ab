"""``GET /api/v1/blobs/{digest}``: the bytes of a trace, whole or from an offset."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse

from db.repositories import traces
from refault.errors import InvalidRequest, NotFound
from services.api.deps import FOREVER, WithResources
from services.api.refusals import RangeNotSatisfiable
from services.api.responses import problems
from services.api.schemas import Digest

router = APIRouter(tags=["blobs"])

MEDIA_TYPE = "application/vnd.refault.trace"
# RFC 9110, 14.1.2: FIRST-LAST, FIRST-, or -LENGTH from the end.
_RANGE = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})")


@router.get(
    "/blobs/{digest}",
    response_class=Response,
    responses={
        200: {
            "description": "The trace file",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        206: {"description": "The part named by `Range`"},
        **problems(404, 416, 422),
    },
)
def get_blob(
    resources: WithResources,
    digest: Digest,
    wanted: Annotated[
        str | None, Header(alias="range", description="`bytes=FIRST-`, or several ranges")
    ] = None,
) -> FileResponse:
    """Download a trace file by its sha256.

    With `Range` a download is resumed; `If-Range` with the digest as ETag
    always matches, because these bytes never change.
    """
    with resources.transaction() as session:
        if traces.find_by_digest(session, digest) is None:
            raise NotFound(f"no blob {digest}: `GET /api/v1/traces` lists what is here")
    path = resources.blobs.fetch(digest)
    if wanted is not None:
        _check_range(wanted, path.stat().st_size)
    return FileResponse(
        path,
        media_type=MEDIA_TYPE,
        headers={"etag": f'"{digest}"', "cache-control": FOREVER},
    )


def _check_range(wanted: str, size_bytes: int) -> None:
    """Refuses a range here, as a problem: the server's own refusals are plain text."""
    unit, _, ranges = wanted.partition("=")
    found = [_RANGE.fullmatch(each.strip()) for each in ranges.split(",")]
    if unit.strip().lower() != "bytes" or not all(found):
        raise InvalidRequest(
            f"Range: expected bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH, got {wanted[:100]!r}"
        )
    for first, last, length in (match.groups() for match in found if match):
        begin = max(0, size_bytes - int(length)) if first is None else int(first)
        if begin >= size_bytes:
            raise RangeNotSatisfiable(
                f"the file has {size_bytes} bytes, and {wanted[:100]!r} begins behind them",
                size_bytes=size_bytes,
            )
        if last and int(last) < begin:
            raise InvalidRequest(f"Range: {wanted[:100]!r} ends before it begins")

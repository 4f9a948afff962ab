"""The endpoints under ``/api/v1/traces``."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from db.repositories import traces
from refault.errors import NotFound
from services.api.deps import Resources, WithCaller, WithPage, WithResources, unchanged
from services.api.door import caller_of
from services.api.idempotency import OnceRoute
from services.api.responses import problems
from services.api.schemas import Page, facets_of
from services.api.traces import course, editing, one_request, streaming
from services.api.traces.announcement import Announcement, Wishes, announced
from services.api.traces.course import Course
from services.api.traces.schemas import (
    TAGS_MAX,
    Name,
    Note,
    Tag,
    TraceChanges,
    TraceDeletion,
    TraceDetail,
    TraceFacets,
    TraceSummary,
)

router = APIRouter(tags=["traces"], route_class=OnceRoute)

MEDIA_TYPE = "application/vnd.refault.trace"
WishedName = Annotated[Name | None, Query(description="Its name; default: the header's")]
WishedTags = Annotated[list[Tag] | None, Query(max_length=TAGS_MAX, description="May be repeated")]
WishedNote = Annotated[Note, Query(description="Kept with the trace if it is new")]

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a trace file (.rft)",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/traces",
    status_code=201,
    openapi_extra=UPLOAD_BODY,
    responses={
        200: {"model": TraceDetail, "description": "The service already had this trace"},
        **problems(408, 413, 422, 503, 507),
    },
)
async def upload_trace(
    request: Request,
    response: Response,
    resources: WithResources,
    name: WishedName = None,
    tag: WishedTags = None,
    note: WishedNote = "",
    content_digest: Annotated[
        str | None, Header(description="RFC 9530; with it, damage in transit is detected")
    ] = None,
) -> TraceDetail:
    """Upload a trace.

    It is checked while it is received. A bad one is refused with the byte of
    the first error (`offset`), and nothing is kept.
    """
    announcement = announced(
        Wishes(name, tuple(tag or ()), note),
        content_length=request.headers.get("content-length"),
        content_digest=content_digest,
    )
    return await take(request, response, resources, announcement)


async def take(
    request: Request, response: Response, resources: Resources, announcement: Announcement
) -> TraceDetail:
    """Store the body of a request as a trace; the answer has its address and whether it is new."""
    trace, is_new = await streaming.take(
        request, resources, one_request.receive(resources, announcement)
    )
    if not is_new and "read" not in caller_of(request).scopes:
        trace = editing.as_uploaded(trace)
    response.headers["location"] = f"/api/v1/traces/{trace.id}"
    response.status_code = 201 if is_new else 200
    return trace


def _wanted(
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Text in name, note, tags or guest; or the beginning of a digest",
        ),
    ] = None,
    tag: Annotated[
        list[Tag] | None, Query(max_length=TAGS_MAX, description="May be repeated: all of them")
    ] = None,
    content: Annotated[Literal["capture", "operations"] | None, Query()] = None,
    guest_mode: Annotated[
        Literal["long", "pae", "32bit", "nonpaging", "mixed", "long5"] | None, Query()
    ] = None,
    vcpus: Annotated[int | None, Query(ge=1, le=1024, description="Number of vCPUs")] = None,
    kernel: Annotated[
        str | None, Query(max_length=200, description="As the guest's description has it")
    ] = None,
) -> traces.Filter:
    # A dependency of its own, as list and facets take the same.
    return traces.Filter(q, tuple(tag or ()), content, guest_mode, vcpus, kernel)


WithFilter = Annotated[traces.Filter, Depends(_wanted)]


@router.get("/traces", responses=problems(422))
def list_traces(
    resources: WithResources,
    page: WithPage,
    wanted: WithFilter,
    sort: Annotated[
        traces.Sort, Query(description="`size` and `events`: the largest first")
    ] = "newest",
) -> Page[TraceSummary]:
    """List the matching traces, newest first by default.

    Long texts are shortened with `…`, and only the first guest entries and marks are listed; the
    trace itself has all.
    """
    with resources.transaction() as session:
        found = traces.list_page(
            session, after=page.cursor, limit=page.limit, wanted=wanted, sort=sort
        )
        items = [editing.listed(row) for row in found.rows]
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


# Before the next, whose path it fits: it is no digest.
@router.get("/traces/facets", responses=problems(422))
def get_trace_facets(resources: WithResources, wanted: WithFilter) -> TraceFacets:
    """Count the traces by guest, vCPUs, kernel, content and tag, each among what else matches."""
    with resources.transaction() as session:
        found = traces.facets(session, wanted)
    return TraceFacets.model_validate(facets_of(found))


@router.get("/traces/{trace}", response_model=TraceDetail, responses=problems(404, 409))
def get_trace(
    request: Request, response: Response, resources: WithResources, trace: str
) -> TraceDetail | Response:
    """Get one trace by id, digest, or the first 8 or more characters of its digest."""
    with resources.transaction() as session:
        found = editing.describe(session, traces.get(session, trace))
    return unchanged(request, response, editing.version(found)) or found


@router.get(
    "/traces/{trace}/course.{form}",
    responses={
        200: {"description": "The course in that format", "content": {"text/csv": {}}},
        **problems(404, 409),
    },
    response_model=Course,
)
def get_trace_course(
    request: Request, response: Response, resources: WithResources, trace: str, form: str
) -> Course | Response:
    """Get a trace's make-up and working set over its guest's time, as .json or .csv."""
    if form not in {"json", "csv"}:
        raise NotFound(f"no format .{form} of a course: expected json or csv")
    with resources.transaction() as session:
        found = editing.describe(session, traces.get(session, trace))
    tag = f"{editing.version(found)}-{form}"
    if form == "csv":
        response = Response(course.to_csv(found.statistics), media_type="text/csv; charset=utf-8")
        return unchanged(request, response, tag) or response
    told = found.statistics
    answer = Course(digest=found.digest, makeup=told.makeup, working_set=told.working_set)
    return unchanged(request, response, tag) or answer


@router.patch("/traces/{trace}", responses=problems(404, 409, 412, 422))
def change_trace(
    resources: WithResources,
    response: Response,
    trace: str,
    changes: TraceChanges,
    if_match: Annotated[
        str | None,
        Header(description="The ETag of the version to change; without it the last change wins"),
    ] = None,
) -> TraceDetail:
    """Change a trace's name, tags, note or the description of its guest."""
    changed = editing.change(resources, trace, changes, if_match)
    response.headers["etag"] = f'"{editing.version(changed)}"'
    return changed


@router.delete("/traces/{trace}", responses=problems(403, 404, 409, 422))
def delete_trace(
    resources: WithResources,
    caller: WithCaller,
    trace: str,
    cascade: Annotated[
        bool, Query(description="Also if batches use it: their runs of it are deleted too")
    ] = False,
    dry_run: Annotated[bool, Query(description="Only list what would be deleted")] = False,
) -> TraceDeletion:
    """Delete a trace for good: its row, its file, its runs and results.

    Its uploader may, unless batches use it; with `cascade`, or where somebody else has uploaded
    it, a maintainer. Another project's copy of the same trace is kept and not mentioned.
    """
    return editing.delete(resources, caller, trace, cascade=cascade, dry_run=dry_run)

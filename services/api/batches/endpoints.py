"""The endpoints under ``/api/v1/batches``."""

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from db.models import Batch
from db.models.runs import RUN_STATES
from db.repositories import batch_search, batches, runs
from db.shards import cancelling
from refault.errors import InvalidRequest
from services.api.batches import service
from services.api.batches.documents import detail_of, listed
from services.api.batches.schemas import (
    BatchBody,
    BatchChange,
    BatchDetail,
    BatchEstimate,
    BatchFacets,
    BatchListed,
)
from services.api.batches.watching import Stream, Watching
from services.api.deps import WithCaller, WithPage, WithResources
from services.api.door import is_still_let_in
from services.api.idempotency import OnceRoute
from services.api.responses import problems
from services.api.runs.schemas import RunState, RunSummary
from services.api.runs.service import summaries_of as run_summaries_of
from services.api.schemas import Digest, Page, facets_of
from services.api.texts import number_in

router = APIRouter(tags=["batches"], route_class=OnceRoute)

VALUES_MAX = 20
ANY_OF = "May be repeated: any of them"
BatchState = Literal["queued", "running", "done", "failed", "cancelled"]
Plan = Literal["each", "series", "ablation", "matrix"]
VerdictName = Annotated[str, Query(pattern="^[a-z-]{1,40}$")]


@router.post(
    "/batches",
    status_code=201,
    responses={
        200: {
            "model": BatchDetail | BatchEstimate,
            "description": "An equal batch was running already; or the answer to a dry run",
        },
        **problems(404, 409, 422, 503),
    },
)
def submit_batch(
    response: Response,
    resources: WithResources,
    body: BatchBody,
    *,
    dry_run: Annotated[
        bool, Query(description="Answer with an estimate and write nothing")
    ] = False,
) -> BatchDetail | BatchEstimate:
    """Submit a batch: traces × patch sets, by a plan.

    Known results are linked at once; the rest is queued. With the
    broker down the batch is accepted all the same, and `notice` says so.
    `dry_run` answers cells, seconds and bytes instead.
    """
    if dry_run:
        response.status_code = 200
        return service.estimate(resources, body)
    batch, is_new = service.submit(resources, body)
    response.headers["location"] = f"/api/v1/batches/{batch.code}"
    if not is_new:
        response.status_code = 200
    return batch


def _wanted(
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Part of a code or a title, or of the name of a trace or a patch set; "
            "or the beginning of a trace's digest",
        ),
    ] = None,
    state: Annotated[
        list[BatchState] | None, Query(max_length=VALUES_MAX, description=ANY_OF)
    ] = None,
    verdict: Annotated[
        list[VerdictName] | None, Query(max_length=VALUES_MAX, description=ANY_OF)
    ] = None,
    plan: Annotated[list[Plan] | None, Query(max_length=VALUES_MAX, description=ANY_OF)] = None,
    submitter: Annotated[
        str | None, Query(max_length=200, description="`user NAME` or `token NAME`")
    ] = None,
    trace: Annotated[Digest | None, Query(description="Digest of a trace that they have")] = None,
) -> batch_search.Filter:
    # A dependency of its own, as list and facets take the same.
    return batch_search.Filter(
        q, tuple(state or ()), tuple(verdict or ()), tuple(plan or ()), submitter, trace
    )


WithFilter = Annotated[batch_search.Filter, Depends(_wanted)]


@router.get("/batches", responses=problems(422))
def list_batches(
    resources: WithResources,
    page: WithPage,
    wanted: WithFilter,
    sort: Annotated[batch_search.Sort, Query(description="`runs`: the largest first")] = "newest",
) -> Page[BatchListed]:
    """List the matching batches, newest first by default."""
    with resources.transaction() as session:
        found = batch_search.list_page(
            session, after=page.cursor, limit=page.limit, wanted=wanted, sort=sort
        )
        items = listed(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


# Before the next, whose path it fits: no batch has this code.
@router.get("/batches/facets", responses=problems(422))
def get_batch_facets(resources: WithResources, wanted: WithFilter) -> BatchFacets:
    """Count the batches by state, verdict, plan and submitter, each among what else matches."""
    with resources.transaction() as session:
        found = batch_search.facets(session, wanted)
    return BatchFacets.model_validate(facets_of(found))


@router.get("/batches/{batch}", responses=problems(404))
def get_batch(resources: WithResources, batch: str) -> BatchDetail:
    """Get one batch, by id or code; its runs are a list of their own."""
    with resources.transaction() as session:
        return detail_of(session, batches.get(session, batch))


@router.patch("/batches/{batch}", responses=problems(403, 404, 422))
def change_batch(
    resources: WithResources, caller: WithCaller, batch: str, body: BatchChange
) -> BatchDetail:
    """Change the title of a batch of one's own; a maintainer any."""
    with resources.transaction() as session:
        row = batches.get(session, batch)
        caller.check_own(row, f"batch {row.code}")
        row.title = body.title.strip()
        session.flush()
        return detail_of(session, row)


@router.get("/batches/{batch}/runs", responses=problems(404, 422))
def list_runs(
    resources: WithResources,
    batch: str,
    page: WithPage,
    state: Annotated[
        list[RunState] | None,
        Query(max_length=len(RUN_STATES), description="May be repeated: any of them"),
    ] = None,
    trace: Annotated[Digest | None, Query(description="Digest of a trace")] = None,
    variant: Annotated[Digest | None, Query(description="Digest of a variant")] = None,
) -> Page[RunSummary]:
    """List the matching runs of a batch, by trace and then by column."""
    wanted = runs.Filter(tuple(state or ()), trace, variant)
    with resources.transaction() as session:
        batch_id = batches.get(session, batch).id
        found = runs.list_page(
            session, batch_id, after=page.cursor, limit=page.limit, wanted=wanted
        )
        items = run_summaries_of(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.post("/batches/{batch}/cancel", responses=problems(404, 409))
def cancel_batch(resources: WithResources, batch: str) -> BatchDetail:
    """Cancel a batch: queued shards at once, running ones when they next check the flag.

    Cancelling a cancelled batch changes nothing; a batch that is otherwise over is a 409.
    """
    with resources.transaction() as session:
        row = cancelling.cancel(session, batches.get(session, batch).id)
        return detail_of(session, row)


@router.post("/batches/{batch}/resume", responses=problems(404, 409))
def resume_batch(resources: WithResources, batch: str) -> BatchDetail:
    """Resume a cancelled batch: cancelled runs are queued again, results are kept.

    A batch of which nothing was cancelled is a 409, and so is one planned for a
    simulator that is not the present one.
    """
    return service.resume(resources, batch)


@router.post("/batches/{batch}/retry", responses=problems(404, 409, 422))
def retry_batch(
    resources: WithResources,
    batch: str,
    *,
    crashed: Annotated[bool, Query(description="Also runs on which the simulator crashed")] = False,
    trace: Annotated[
        Digest | None, Query(description="Only runs of the trace of this digest")
    ] = None,
    variant: Annotated[
        Digest | None, Query(description="Only runs under the variant of this digest")
    ] = None,
) -> BatchDetail:
    """Run only the failed runs again; with `trace` and `variant` only that cell.

    A batch without such runs is a 409, and so is one planned for a simulator
    that is not the present one.
    """
    wanted = runs.Filter(trace_digest=trace, variant_digest=variant)
    return service.retry(resources, batch, crashed=crashed, wanted=wanted)


def _watched(resources: WithResources, batch: str) -> Batch:
    # A dependency, so that a missing batch is a 404 and not a broken stream.
    with resources.transaction() as session:
        return batches.get(session, batch)


def _last_seen(last_event_id: Annotated[str | None, Header()] = None) -> int:
    if not last_event_id:
        return 0
    found = number_in(last_event_id)
    if found is None:
        raise InvalidRequest(
            f"Last-Event-ID: expected the id of an event, got {last_event_id!r:.100}"
        )
    return found


async def _stream(
    request: Request,
    resources: WithResources,
    caller: WithCaller,
    batch: Annotated[Batch, Depends(_watched)],
    last_seen: Annotated[int, Depends(_last_seen)],
) -> AsyncIterator[Stream]:
    # Also a dependency: over the limit of streams is a 429 and not a broken stream.
    who = Watching(
        credential=(caller.kind, caller.row_id),
        name=caller.name,
        project_id=caller.project_id,
        may_go_on=partial(is_still_let_in, resources.engine, request),
    )
    source = service.watched(resources, batch)
    async with resources.watchers.stream(who, source, last_seen) as stream:
        yield stream


@router.get(
    "/batches/{batch}/events",
    response_class=EventSourceResponse,
    responses=problems(404, 422, 429),
)
async def watch_batch(
    stream: Annotated[Stream, Depends(_stream)],
) -> AsyncIterable[ServerSentEvent]:
    """Watch a batch as server-sent events; `Last-Event-ID` resumes, `finished` is the last.

    The stream ends within seconds after its caller lost access.
    """
    async for event in stream.events():
        yield event

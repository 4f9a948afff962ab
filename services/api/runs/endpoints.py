"""The endpoints under ``/api/v1/runs``."""

import hashlib
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from db.repositories import runs
from refault.attribution import Attribution
from refault.compare.attribution_chart import csv_of as attribution_csv_of
from refault.compare.timeline_chart import timeline_chart
from refault.compare.timelines import (
    COUNTERS_MAX,
    LINES_MAX,
    SLICES,
    SLICES_RANGE,
    View,
    csv_of,
)
from refault.errors import NotFound
from services.api.deps import WithResources, unchanged
from services.api.responses import problems
from services.api.runs import forms
from services.api.runs.schemas import RunAttribution, RunDetail, RunTimeline, TimelinesBeside
from services.api.runs.service import attribution_of, detail_of, timeline_of

router = APIRouter(tags=["runs"])

_MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
}
_TEXTS: dict[str, Any] = {
    name: {"schema": {"type": "string"}} for name in ("text/csv", "image/svg+xml")
}

AttributionView = Literal["cause", "region", "address_space", "mark"]
WithCounters = Annotated[
    list[Annotated[str, Field(max_length=60)]] | None,
    Query(max_length=COUNTERS_MAX, description="Which counters; may be repeated"),
]
WithTheme = Annotated[Literal["light", "dark"], Query(description="Colours of the chart")]


@router.get("/runs/{run}", responses=problems(404, 422))
def get_run(resources: WithResources, run: uuid.UUID) -> RunDetail:
    """Get one run with its result."""
    with resources.transaction() as session:
        return detail_of(session, runs.get(session, run))


@router.get("/runs/{run}/timeline", responses=problems(404, 422))
def get_run_timeline(resources: WithResources, run: uuid.UUID) -> RunTimeline:
    """Get how a run's counters went over the guest's time: at most 1,000 samples."""
    with resources.transaction() as session:
        return timeline_of(session, runs.get(session, run))


@router.get(
    "/runs/{run}/timeline.{form}",
    responses={
        200: {
            "description": "The timelines in that format",
            "model": TimelinesBeside,
            "content": _TEXTS,
        },
        **problems(404, 422, 503),
    },
    response_class=Response,
)
def get_run_timeline_as(
    request: Request,
    resources: WithResources,
    run: uuid.UUID,
    form: str,
    beside: Annotated[
        list[uuid.UUID] | None,
        Query(
            max_length=LINES_MAX - 1, description="Other runs of the same trace; may be repeated"
        ),
    ] = None,
    counter: WithCounters = None,
    view: Annotated[
        View,
        Query(
            description="`slice`: what was added in each slice of the guest's time; `total`: the "
            "number at its end; `difference`: that minus the first run's"
        ),
    ] = "slice",
    slices: Annotated[
        int, Query(ge=SLICES_RANGE.start, lt=SLICES_RANGE.stop, description="How many")
    ] = SLICES,
    theme: WithTheme = "light",
) -> Response:
    """Get the timelines of one run, or of several of one trace, as .json .csv or .svg.

    All three have the same numbers: a few dozen slices of the guest's time.
    """
    _check_form(form, "timeline")
    asked = forms.Asked(tuple(counter or ()), view, slices)
    found = forms.timelines(resources, [run, *(beside or ())], asked)
    if form == "json":
        body = found.document.model_dump_json()
    elif form == "csv":
        body = csv_of(found.table)
    else:
        spec = timeline_chart(found.table, found.trace_name, theme=theme)
        body = resources.drawings.svg_of(spec, resources.project_id)
    return _answer(request, body, form)


@router.get("/runs/{run}/attribution", responses=problems(404, 422))
def get_run_attribution(resources: WithResources, run: uuid.UUID) -> RunAttribution:
    """Get what a run's counters came from: by cause, region, address space and mark; tables."""
    with resources.transaction() as session:
        return attribution_of(session, runs.get(session, run))


@router.get(
    "/runs/{run}/attribution.{form}",
    responses={
        200: {
            "description": "The attribution in that format",
            "model": RunAttribution,
            "content": _TEXTS,
        },
        **problems(404, 422, 503),
    },
    response_class=Response,
)
def get_run_attribution_as(
    request: Request,
    resources: WithResources,
    run: uuid.UUID,
    form: str,
    view: Annotated[
        AttributionView, Query(description="How the chart splits the counters")
    ] = "cause",
    counter: WithCounters = None,
    theme: WithTheme = "light",
) -> Response:
    """Get the attribution of a run as .json, .csv (all views) or .svg (one view)."""
    _check_form(form, "attribution")
    with resources.transaction() as session:
        document = attribution_of(session, runs.get(session, run))
    if form == "json":
        body = document.model_dump_json()
    else:
        attribution = Attribution.from_dict(document.attribution)
        if form == "csv":
            body = attribution_csv_of(attribution)
        else:
            spec = forms.attribution_spec(attribution, view, tuple(counter or ()), theme)
            body = resources.drawings.svg_of(spec, resources.project_id)
    return _answer(request, body, form)


def _check_form(form: str, noun: str) -> None:
    if form not in _MEDIA_TYPES:
        raise NotFound(f"no format .{form} of {noun}: expected one of {', '.join(_MEDIA_TYPES)}")


def _answer(request: Request, body: str, form: str) -> Response:
    response = Response(body, media_type=_MEDIA_TYPES[form])
    tag = hashlib.sha256(body.encode()).hexdigest()
    return unchanged(request, response, tag) or response

"""The endpoints under ``/api/v1/comparisons``: one comparison, six formats."""

import hashlib
import uuid
from enum import StrEnum
from os import SEEK_END
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from db.repositories import batches
from db.shards.planning import RUNS_MAX
from db.shards.refusals import Unrunnable
from refault.compare import chart, to_csv, to_dict, to_markdown, to_text
from refault.compare.answers import answer
from refault.compare.cost_text import cost_text, with_models
from refault.compare.costs import Costs, model
from refault.errors import InvalidParameter, InvalidRequest, NotFound
from services.api.comparisons import bundling, service
from services.api.comparisons.overviews import overview_of, verdict_of
from services.api.comparisons.schemas import ComparisonDocument
from services.api.comparisons.service import LIMIT_MAX
from services.api.deps import FOREVER, REVALIDATE, Resources, WithResources, unchanged
from services.api.door import caller_of
from services.api.notes import service as notes
from services.api.responses import problems
from services.api.schemas import Digest

router = APIRouter(tags=["comparisons"])


class Form(StrEnum):
    """The formats of a comparison."""

    JSON = "json"
    TEXT = "txt"
    MARKDOWN = "md"
    CSV = "csv"
    SVG = "svg"
    ZIP = "zip"


Theme = Literal["light", "dark"]
MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.TEXT: "text/plain; charset=utf-8",
    Form.MARKDOWN: "text/markdown; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8",
    Form.SVG: "image/svg+xml",
    Form.ZIP: "application/zip",
}
WithBase = Annotated[
    int,
    Query(
        ge=0, lt=RUNS_MAX, description="Index of the column the others are compared with, from 0"
    ),
]
WithTrace = Annotated[
    Digest | None, Query(description="Digest of the one trace to show; default: all")
]
WithLimit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="JSON: maximum number of traces")]
WithCursor = Annotated[
    uuid.UUID | None, Query(description="JSON: `next_cursor` of the previous page")
]
WithCosts = Annotated[
    str | None,
    Query(
        max_length=400,
        description="Also modelled cycles beside the counts, but in .svg and .zip, by weights such "
        "as `exit:1800,zap:3000`, or `default`; verdicts weigh by them what rose against what fell",
    ),
]
WithColumns = Annotated[
    str | None,
    Query(
        max_length=4_000,
        pattern=r"^[0-9]{1,5}(,[0-9]{1,5})*$",
        description="Indexes of the columns to compare beside the base, such as `2,5,3`, in this "
        "order; default: all. The verdicts stay those of all columns",
    ),
]
WithVersion = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{12}$",
        description="SVG: the digest of what it shows, as pages know it beforehand: the answer "
        "may then be kept for ever",
    ),
]
_FORMS: dict[str, Any] = {
    media_type.partition(";")[0]: {"schema": {"type": "string"}}
    for form, media_type in MEDIA_TYPES.items()
    if form is not Form.JSON
}
_FORMS["application/zip"] = {"schema": {"type": "string", "format": "binary"}}
_FORMS["application/json"] = {"schema": {"$ref": "#/components/schemas/ComparisonDocument"}}


@router.get(
    "/comparisons/{batch}.{form}",
    responses={
        200: {"description": "The comparison in that format", "content": _FORMS},
        **problems(404, 422, 503),
    },
    response_class=Response,
)
def get_comparison_as(
    request: Request,
    resources: WithResources,
    batch: str,
    form: str,
    base: WithBase = 0,
    trace: WithTrace = None,
    theme: Annotated[Theme, Query(description="Colours of the chart")] = "light",
    limit: WithLimit = LIMIT_MAX,
    cursor: WithCursor = None,
    costs: WithCosts = None,
    columns: WithColumns = None,
    version: WithVersion = None,
) -> Response:
    """Get the comparison of a batch as .json .txt .md .csv .svg or .zip.

    Cells without a result say so. `base` chooses
    the column the others are read against. JSON comes in pages of at most 80
    cells, each with the verdicts over all of them; the other formats have all cells.
    The .zip is a bundle: pages that open from a file, every result and checksums.
    """
    if form not in set(Form):
        raise NotFound(f"no format .{form} of a comparison: expected one of {', '.join(Form)}")
    if form == Form.ZIP:
        return _bundle(request, resources, batch, base, trace)
    weights = weights_of(costs)
    chosen = None if columns is None else tuple(map(int, columns.split(",")))
    part = service.Part(trace, cursor, limit, chosen)
    if form == Form.JSON:
        key = (resources.project_id, batch, base, part, costs)
        body = resources.together.answer(
            key, lambda: _json(service.of_batch(resources, batch, base, part, weights), weights)
        )
    elif form == Form.SVG:
        found = service.whole(resources, batch, base, part)
        spec = chart([to_dict(comparison) for comparison in found.comparisons], theme=theme)
        body = resources.drawings.svg_of(spec, resources.project_id)
    else:
        body = _body(service.whole(resources, batch, base, part, weights), Form(form), weights)
        if form != Form.CSV and caller_of(request).kind != "link":
            body += _notes(resources, batch)
    response = Response(body, media_type=MEDIA_TYPES[Form(form)])
    tag = hashlib.sha256(body.encode()).hexdigest()
    keep = FOREVER if form == Form.SVG and version is not None else REVALIDATE
    return unchanged(request, response, tag, keep=keep) or response


@router.get("/comparisons/{batch}", response_model=ComparisonDocument, responses=problems(404, 422))
def get_comparison(
    request: Request,
    resources: WithResources,
    batch: str,
    base: WithBase = 0,
    trace: WithTrace = None,
    limit: WithLimit = LIMIT_MAX,
    cursor: WithCursor = None,
    costs: WithCosts = None,
    columns: WithColumns = None,
) -> Response:
    """Get the comparison of a batch as JSON, with all verdicts and one page of its traces."""
    return get_comparison_as(
        request,
        resources,
        batch,
        Form.JSON,
        base,
        trace,
        limit=limit,
        cursor=cursor,
        costs=costs,
        columns=columns,
    )


def _bundle(
    request: Request, resources: Resources, batch: str, base: int, trace: str | None
) -> Response:
    # Notes are for the project: whoever has only a link does not see them.
    has_notes = caller_of(request).kind != "link"
    file = bundling.bundle_of(resources, batch, base, trace, has_notes=has_notes)
    tag = bundling.sha256_of(file)
    size_bytes = file.seek(0, SEEK_END)
    file.seek(0)
    response = StreamingResponse(bundling.chunks_of(file), media_type=MEDIA_TYPES[Form.ZIP])
    response.headers["content-length"] = str(size_bytes)
    # A batch may also be named by its id, which is as plain as its code.
    response.headers["content-disposition"] = f'attachment; filename="{batch}.zip"'
    found = unchanged(request, response, tag)
    if found is not None:
        file.close()
    return found or response


def weights_of(costs: str | None) -> Costs | None:
    """The weights of a cost model that was asked for."""
    if costs is None:
        return None
    try:
        return Costs.from_text(costs)
    except InvalidParameter as error:
        raise InvalidRequest(str(error)) from error


def _json(found: service.BatchComparison, weights: Costs | None) -> str:
    models = [] if weights is None else [model(each, weights) for each in found.comparisons]
    document = ComparisonDocument(
        batch=found.batch,
        title=found.title,
        command=list(found.command),
        verdict=verdict_of(found.judged),
        overview=overview_of(found.judged),
        answer=answer(found.batch.plan, found.steps),
        steps=[step.to_dict() for step in found.steps],
        interactions=[each.to_dict() for each in found.interactions],
        comparisons=with_models(
            [_told(to_dict(each), found.refused) for each in found.comparisons], models
        ),
        next_cursor=found.next_cursor and str(found.next_cursor),
    )
    return document.model_dump_json()


def _told(document: dict[str, Any], refused: Unrunnable) -> dict[str, Any]:
    """A comparison whose columns say why no engine can replay their cell, where none can."""
    if refused:
        trace = document["trace"]["digest"]
        for column in document["columns"]:
            column["refusal"] = refused.get((trace, column["variant_digest"]))
    return document


def _notes(resources: Resources, batch: str) -> str:
    """What the project has noted on the cells; whoever has only a link does not see it."""
    with resources.transaction() as session:
        return notes.reported(session, batches.get(session, batch))


def _body(found: service.BatchComparison, form: Form, weights: Costs | None) -> str:
    models = [] if weights is None else [model(each, weights) for each in found.comparisons]
    told: dict[str, Any] = {
        "title": found.title,
        "command": found.command,
        "verdict": found.judged.overall,
        "plan": found.batch.plan,
        "steps": found.steps,
        "interactions": found.interactions,
    }
    match form:
        case Form.TEXT:
            names = [each.trace.name for each in found.comparisons]
            costs = cost_text(list(zip(names, models, strict=True))) if models else ""
            return to_text(found.comparisons, **told) + costs
        case Form.MARKDOWN:
            return to_markdown(found.comparisons, **told, models=models)
        case _:
            return to_csv(found.comparisons, models)

"""The endpoints ``/api/v1/comparisons``: columns of any batches, in the forms of a batch's."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import StringConstraints

from refault.compare import chart, to_csv, to_dict, to_markdown, to_text
from refault.compare.cost_text import cost_text, with_models
from refault.compare.costs import Costs, model
from refault.errors import NotFound
from services.api.comparisons import across
from services.api.comparisons.across import COLUMNS_MAX, Across
from services.api.comparisons.endpoints import (
    MEDIA_TYPES,
    Form,
    Theme,
    WithBase,
    WithColumns,
    WithCosts,
    WithCursor,
    WithLimit,
    WithTrace,
    WithVersion,
    weights_of,
)
from services.api.comparisons.overviews import overview_of, verdict_of
from services.api.comparisons.schemas import AcrossDocument, LeftOut, PickedColumn
from services.api.comparisons.service import LIMIT_MAX, Part
from services.api.deps import FOREVER, REVALIDATE, WithResources, unchanged
from services.api.patch_sets.schemas import Variant
from services.api.responses import problems

router = APIRouter(tags=["comparisons"])

_WithNames = Annotated[
    list[Annotated[str, StringConstraints(max_length=60)]],
    Query(
        alias="column",
        min_length=1,
        max_length=COLUMNS_MAX,
        description="A batch and the index of one of its columns from 0, such as `b-7k3f:2`; "
        "repeat it for each",
    ),
]
_FORMS: dict[str, Any] = {
    media_type.partition(";")[0]: {"schema": {"type": "string"}}
    for form, media_type in MEDIA_TYPES.items()
    if form not in {Form.JSON, Form.ZIP}
}
_FORMS["application/json"] = {"schema": {"$ref": "#/components/schemas/AcrossDocument"}}


@router.get("/comparisons", response_model=AcrossDocument, responses=problems(404, 422))
def compare_columns(
    request: Request,
    resources: WithResources,
    names: _WithNames,
    base: WithBase = 0,
    trace: WithTrace = None,
    limit: WithLimit = LIMIT_MAX,
    cursor: WithCursor = None,
    costs: WithCosts = None,
    columns: WithColumns = None,
) -> Response:
    """Compare columns of any batches of the project on the traces that all of these have.

    `base` is the index of one of the columns. Results of two versions of an engine are never
    mixed: a column of another version than the base's is in `left_out`.
    """
    part = Part(trace, cursor, limit, _chosen(columns))
    weights = weights_of(costs)
    found = across.across(resources, names, base, part, weights)
    models = [] if weights is None else [model(each, weights) for each in found.comparisons]
    document = AcrossDocument(
        title=found.title,
        command=list(found.command),
        columns=[_column(each) for each in found.picked],
        base=found.base,
        left_out=[LeftOut.model_validate(each) for each in found.left_out],
        traces_left_out=[LeftOut.model_validate(each) for each in found.traces_left_out],
        simulators=dict(found.simulators),
        is_stale=found.is_stale,
        verdict=verdict_of(found.judged),
        overview=overview_of(found.judged),
        interactions=[each.to_dict() for each in found.interactions],
        comparisons=with_models([to_dict(each) for each in found.comparisons], models),
        next_cursor=found.next_cursor and str(found.next_cursor),
    )
    return _answer(request, document.model_dump_json(), Form.JSON)


@router.get(
    "/comparisons.{form}",
    responses={
        200: {"description": "The comparison in that format", "content": _FORMS},
        **problems(404, 422, 503),
    },
    response_class=Response,
)
def compare_columns_as(
    request: Request,
    resources: WithResources,
    form: str,
    names: _WithNames,
    base: WithBase = 0,
    trace: WithTrace = None,
    theme: Annotated[Theme, Query(description="Colours of the chart")] = "light",
    limit: WithLimit = LIMIT_MAX,
    cursor: WithCursor = None,
    costs: WithCosts = None,
    columns: WithColumns = None,
    version: WithVersion = None,
) -> Response:
    """Compare columns of any batches as .json .txt .md .csv or .svg; only JSON has pages."""
    if form not in set(Form) - {Form.ZIP}:
        raise NotFound(f"no format .{form} of a comparison: expected json, txt, md, csv or svg")
    if form == Form.JSON:
        return compare_columns(
            request, resources, names, base, trace, limit, cursor, costs, columns
        )
    part = Part(trace, columns=_chosen(columns))
    weights = weights_of(costs)
    found = across.across(resources, names, base, part, weights, is_paged=False)
    if form == Form.SVG:
        spec = chart([to_dict(comparison) for comparison in found.comparisons], theme=theme)
        body = resources.drawings.svg_of(spec, resources.project_id)
    else:
        body = _body(found, Form(form), weights)
    is_fixed = form == Form.SVG and version is not None
    return _answer(request, body, Form(form), keep=FOREVER if is_fixed else REVALIDATE)


def _answer(request: Request, body: str, form: Form, *, keep: str = REVALIDATE) -> Response:
    response = Response(body, media_type=MEDIA_TYPES[form])
    tag = hashlib.sha256(body.encode()).hexdigest()
    return unchanged(request, response, tag, keep=keep) or response


def _chosen(columns: str | None) -> tuple[int, ...] | None:
    return None if columns is None else tuple(map(int, columns.split(",")))


def _column(picked: across.Picked) -> PickedColumn:
    return PickedColumn(
        name=picked.name,
        batch=picked.batch.code,
        index=picked.index,
        label=picked.label,
        variant=Variant.model_validate(picked.column.variant),
        simulator_digest=picked.version,
    )


def _body(found: Across, form: Form, weights: Costs | None) -> str:
    models = [] if weights is None else [model(each, weights) for each in found.comparisons]
    told: dict[str, Any] = {
        "title": found.title,
        "command": found.command,
        "verdict": found.judged.overall,
        "interactions": found.interactions,
    }
    if form is Form.TEXT:
        names = [each.trace.name for each in found.comparisons]
        costs = cost_text(list(zip(names, models, strict=True))) if models else ""
        return to_text(found.comparisons, **told) + costs
    if form is Form.MARKDOWN:
        return to_markdown(found.comparisons, **told, models=models)
    return to_csv(found.comparisons, models)

"""The endpoints under ``/api/v1/comparisons``: one comparison, five forms."""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from refault.compare import chart, to_csv, to_dict, to_markdown, to_text
from refault.errors import NotFound
from services.api.batches.schemas import BatchVerdict
from services.api.comparisons import service
from services.api.comparisons.schemas import ComparisonDocument
from services.api.deps import WithResources, unchanged
from services.api.responses import problems

router = APIRouter(tags=["comparisons"])


class Form(StrEnum):
    """The forms a comparison has."""

    JSON = "json"
    TEXT = "txt"
    MARKDOWN = "md"
    CSV = "csv"
    SVG = "svg"


Theme = Literal["light", "dark"]
_MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.TEXT: "text/plain; charset=utf-8",
    Form.MARKDOWN: "text/markdown; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8",
    Form.SVG: "image/svg+xml",
}
_WithBase = Annotated[
    int, Query(ge=0, description="The column the others are read against, counted from 0")
]
_WithTrace = Annotated[
    str | None, Query(description="Digest of the one trace to show; all of them if left out")
]
_FORMS: dict[str, Any] = {
    media_type.partition(";")[0]: {"schema": {"type": "string"}}
    for form, media_type in _MEDIA_TYPES.items()
    if form is not Form.JSON
}
_FORMS["application/json"] = {"schema": {"$ref": "#/components/schemas/ComparisonDocument"}}


@router.get(
    "/comparisons/{batch}.{form}",
    responses={
        200: {"description": "The comparison in that form", "content": _FORMS},
        **problems(404, 422, 503),
    },
    response_class=Response,
)
def get_comparison_as(
    request: Request,
    resources: WithResources,
    batch: str,
    form: str,
    base: _WithBase = 0,
    trace: _WithTrace = None,
    theme: Annotated[Theme, Query(description="Colours of the drawing")] = "light",
) -> Response:
    """Get the comparison of a batch as .json .txt .md .csv or .svg.

    It holds what there is: cells without a result yet say so. `base` chooses
    the column the others are read against.
    """
    if form not in set(Form):
        raise NotFound(f"no form .{form} of a comparison: there are {', '.join(Form)}")
    found = service.of_batch(resources, batch, base, trace)
    if form == Form.SVG:
        spec = chart([to_dict(comparison) for comparison in found.comparisons], theme=theme)
        body = resources.drawings.svg_of(spec, resources.project_id)
    else:
        body = _body(found, Form(form))
    response = Response(body, media_type=_MEDIA_TYPES[Form(form)])
    tag = hashlib.sha256(body.encode()).hexdigest()
    return unchanged(request, response, tag) or response


@router.get("/comparisons/{batch}", response_model=ComparisonDocument, responses=problems(404, 422))
def get_comparison(
    request: Request,
    resources: WithResources,
    batch: str,
    base: _WithBase = 0,
    trace: _WithTrace = None,
) -> Response:
    """Get the comparison of a batch as JSON."""
    return get_comparison_as(request, resources, batch, Form.JSON, base, trace)


def _body(found: service.BatchComparison, form: Form) -> str:
    match form:
        case Form.TEXT:
            return to_text(
                found.comparisons,
                title=found.title,
                command=found.command,
                verdict=found.verdict,
            )
        case Form.MARKDOWN:
            return to_markdown(found.comparisons, title=found.title, command=found.command)
        case Form.CSV:
            return to_csv(found.comparisons)
        case _:
            document = ComparisonDocument(
                batch=found.batch,
                title=found.title,
                command=list(found.command),
                comparisons=[to_dict(comparison) for comparison in found.comparisons],
                verdict=BatchVerdict.model_validate(found.verdict.to_dict()),
            )
            return document.model_dump_json()

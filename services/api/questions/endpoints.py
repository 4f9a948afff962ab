"""The endpoints under ``/api/v1/questions``."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from db.repositories import questions, traces
from services.api.deps import WithPage, WithResources
from services.api.idempotency import OnceRoute
from services.api.questions import service
from services.api.questions.schemas import (
    QuestionBody,
    QuestionDetail,
    QuestionKind,
    QuestionSummary,
)
from services.api.responses import problems
from services.api.schemas import Page

router = APIRouter(tags=["questions"], route_class=OnceRoute)


@router.post(
    "/questions",
    status_code=202,
    responses={
        200: {"model": QuestionDetail, "description": "This project has asked it already"},
        **problems(404, 409, 422, 503, 507),
    },
)
def ask_question(
    response: Response, resources: WithResources, body: QuestionBody
) -> QuestionDetail:
    """Ask for an audit, a divergence, an inspection or a verification; a worker answers it.

    Equal questions are one: its answer is kept, and one that failed is tried again.
    """
    found, is_new = service.ask(resources, body)
    response.headers["location"] = f"/api/v1/questions/{found.id}"
    response.status_code = 202 if is_new else 200
    return found


@router.get("/questions", responses=problems(404, 422))
def list_questions(
    resources: WithResources,
    page: WithPage,
    kind: Annotated[QuestionKind | None, Query(description="Only of that kind")] = None,
    trace: Annotated[
        str | None, Query(max_length=64, description="Only of that trace: its id or digest")
    ] = None,
) -> Page[QuestionSummary]:
    """List questions, newest first, without their answers.

    Verifications, one for each upload, are listed only by `kind` or `trace`.
    """
    with resources.transaction() as session:
        of_trace = None if trace is None else traces.get(session, trace)
        found = questions.list_page(
            session, kind=kind, trace=of_trace, after=page.cursor, limit=page.limit
        )
        items = service.summaries_of(session, found.rows)
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/questions/{question}", responses=problems(404, 422))
def get_question(
    resources: WithResources, response: Response, question: uuid.UUID
) -> QuestionDetail:
    """Get one question, with its answer once it is done."""
    response.headers["cache-control"] = "no-store"
    with resources.transaction() as session:
        return service.detail_of(session, questions.get(session, question))

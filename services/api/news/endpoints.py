"""The endpoint ``/api/v1/news``."""

import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from db.repositories import news, simulators, visits
from services.api.batches.documents import listed
from services.api.batches.schemas import TraceReference
from services.api.callers import Caller
from services.api.deps import WithCaller, WithResources
from services.api.news.schemas import News
from services.api.responses import problems
from services.api.workers.service import starting

router = APIRouter(tags=["news"])


@router.get("/news", responses=problems(422))
def get_news(
    resources: WithResources,
    caller: WithCaller,
    since: Annotated[
        AwareDatetime | None, Query(description="Default: the end of the caller's last visit")
    ] = None,
    named: Annotated[
        int, Query(ge=0, le=news.NAMED_MAX, description="How many of each are named")
    ] = news.NAMED_MAX,
) -> News:
    """Get what changed in the project: batches submitted and ended, traces uploaded.

    Without `since`, a user who has logged in is told what is new since the last visit, which ends
    after half an hour without a call.
    """
    with resources.transaction() as session:
        moment = since or _last_visit(session, caller)
        found = news.since(session, moment, named=named)
        return News(
            since=moment,
            submitted_count=found.submitted_count,
            ended_count=found.ended_count,
            ended=listed(session, found.ended),
            open_count=found.open_count,
            worker_count=simulators.alive_count(session),
            workers_starting=starting(session),
            trace_count=found.trace_count,
            traces=[TraceReference.model_validate(row) for row in found.traces],
        )


def _last_visit(session: Session, caller: Caller) -> datetime.datetime | None:
    if caller.kind != "session" or caller.user is None:
        return None
    return visits.since(session, caller.user.id)

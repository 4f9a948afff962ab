"""The endpoints under ``/api/v1/runs``."""

import uuid

from fastapi import APIRouter

from db.repositories import runs
from services.api.deps import WithResources
from services.api.responses import problems
from services.api.runs.schemas import RunDetail
from services.api.runs.service import detail_of

router = APIRouter(tags=["runs"])


@router.get("/runs/{run}", responses=problems(404, 422))
def get_run(resources: WithResources, run: uuid.UUID) -> RunDetail:
    """Get one run with its result."""
    with resources.transaction() as session:
        return detail_of(session, runs.get(session, run))

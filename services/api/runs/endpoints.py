"""The endpoints under ``/api/v1/runs``."""

import uuid

from fastapi import APIRouter

from db.repositories import runs
from services.api.deps import WithResources
from services.api.responses import problems
from services.api.runs.schemas import RunAttribution, RunDetail, RunTimeline
from services.api.runs.service import attribution_of, detail_of, timeline_of

router = APIRouter(tags=["runs"])


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


@router.get("/runs/{run}/attribution", responses=problems(404, 422))
def get_run_attribution(resources: WithResources, run: uuid.UUID) -> RunAttribution:
    """Get what a run's counters came from: by cause, region, address space and mark; tables."""
    with resources.transaction() as session:
        return attribution_of(session, runs.get(session, run))

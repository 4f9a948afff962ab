"""The endpoint ``/api/v1/workers``: how many there are, for whoever waits for one."""

from fastapi import APIRouter

from services.api.deps import WithResources
from services.api.workers.schemas import Workers
from services.api.workers.service import workers_of

router = APIRouter(tags=["operations"])


@router.get("/workers")
def get_workers(resources: WithResources) -> Workers:
    """Get how many workers are alive, and what those compile that are starting."""
    with resources.transaction() as session:
        return workers_of(session)

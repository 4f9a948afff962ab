"""The endpoints under ``/api/v1/limits``."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from db.repositories import projects, simulators, uploads
from db.scope import project_of
from refault.errors import InvalidRequest
from services.api.deps import Resources, WithResources
from services.api.errors import pointing_at
from services.api.limits.schemas import Limits, LimitsBody, Usage, Used
from services.api.responses import problems

router = APIRouter(tags=["limits"])


@router.get("/limits")
def get_limits(resources: WithResources) -> Limits:
    """Get the limits of a shard of this project, and whether kernels are built."""
    with resources.transaction() as session:
        return _document(resources, session)


@router.put("/limits", responses=problems(403, 422))
def put_limits(resources: WithResources, body: LimitsBody) -> Limits:
    """Set the time limit of a shard, and who builds kernels; for maintainers.

    Running shards keep their limit.
    """
    most = resources.limits.seconds
    if body.shard_seconds is not None and body.shard_seconds > most:
        with pointing_at("/shard_seconds"):
            raise InvalidRequest(
                f"shard_seconds: {body.shard_seconds} is more than the {most:g} s of this "
                "service (REFAULT_SHARD_SECONDS)"
            )
    with resources.transaction() as session:
        project = projects.by_id(session, project_of(session))
        project.shard_seconds = body.shard_seconds
        if body.build_role is not None:
            project.build_role = body.build_role
        session.flush()
        return _document(resources, session)


@router.get("/usage")
def get_usage(resources: WithResources) -> Usage:
    """Get how much the project has of what its quotas bound."""
    coming_count, coming_bytes = resources.open_uploads.of(resources.project_id)
    with resources.transaction() as session:
        project = projects.by_id(session, project_of(session))
        found, (upload_count, upload_bytes) = projects.use(session), uploads.under_way(session)
        return Usage(
            bytes=Used(
                used=found.size_bytes,
                unfinished=upload_bytes + coming_bytes,
                quota=project.quota_bytes,
            ),
            traces=Used(
                used=found.trace_count,
                unfinished=upload_count + coming_count,
                quota=project.quota_traces,
            ),
            queued_runs=Used(
                used=found.queued_run_count, unfinished=0, quota=project.quota_queued_runs
            ),
        )


def _document(resources: Resources, session: Session) -> Limits:
    project = projects.by_id(session, project_of(session))
    return Limits(
        shard_seconds=project.shard_seconds,
        shard_seconds_max=resources.limits.seconds,
        replay_memory_bytes=resources.limits.memory_bytes,
        builds=resources.settings.builds,
        builders=simulators.builder_count(session),
        build_role=project.build_role,
    )

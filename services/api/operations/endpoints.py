"""The endpoint ``/api/v1/operations``: for administrators who are logged in.

It counts over all projects and names none of their things.
"""

import shutil
from pathlib import Path

from fastapi import APIRouter, Request

from db import revisions
from db.errors import Forbidden
from db.models import KernelBuild, Question, Shard, Worker
from db.repositories import operations, simulators
from db.session import transaction
from refault.results import SHADOW
from services.api import health
from services.api.deps import Resources, WithCaller, WithResources
from services.api.responses import problems
from services.api.schemas import Document, Time
from services.api.workers.schemas import StartingWorker
from services.api.workers.service import starting

router = APIRouter(tags=["operations"])

WORKERS_MAX = 100


class WorkerState(Document):
    """A worker process."""

    name: str
    host: str
    pid: int
    is_alive: bool
    ended_in_order: bool | None
    can_build: bool
    engines: dict[str, str]
    started_at: Time
    heartbeat_at: Time


class QueueState(Document):
    """One kind of work, over all projects."""

    kind: str
    queued: int
    running: int
    overdue: int
    oldest_queued_at: Time | None


class Storage(Document):
    """What is stored."""

    traces: int
    trace_bytes: int
    results: int
    database_bytes: int
    free_bytes: int | None


class Operations(Document):
    """The service as its operator sees it."""

    release: str
    migration: str | None
    simulators: dict[str, str]
    parts: dict[str, health.Part]
    workers: list[WorkerState]
    starting: list[StartingWorker]
    queues: list[QueueState]
    deliveries: dict[str, int]
    tallies: dict[str, int]
    storage: Storage


@router.get("/operations", responses=problems(401, 403))
def get_operations(request: Request, resources: WithResources, caller: WithCaller) -> Operations:
    """Get workers, queues, storage and versions of the whole service."""
    if not caller.is_admin:
        raise Forbidden("only a logged-in administrator sees how the service runs")
    parts = health.parts_of(resources)
    kinds = (("shards", Shard), ("builds", KernelBuild), ("questions", Question))
    with transaction(resources.engine) as session:
        rows = simulators.known_workers(session, WORKERS_MAX)
        digests = {name for row, _ in rows for name in _simulators_of(row)}
        engines = simulators.engines_of(session, digests)
        return Operations(
            release=request.app.version,
            migration=revisions.current(resources.engine),
            # Before the first worker has come there is none.
            simulators=simulators.known(session),
            parts=parts,
            workers=[
                WorkerState(
                    name=row.name,
                    host=row.host,
                    pid=row.pid,
                    is_alive=is_alive,
                    ended_in_order=row.ended_in_order,
                    can_build=row.can_build,
                    engines={engines.get(name, SHADOW): name for name in _simulators_of(row)},
                    started_at=row.started_at,
                    heartbeat_at=row.heartbeat_at,
                )
                for row, is_alive in rows
            ],
            starting=starting(session),
            queues=[
                QueueState(kind=name, **operations.queue_of(session, kind)._asdict())
                for name, kind in kinds
            ],
            deliveries=operations.deliveries_by_state(session),
            tallies=operations.tallies(session),
            storage=Storage(
                **operations.stored(session)._asdict(), free_bytes=_free_bytes(resources)
            ),
        )


def _simulators_of(row: Worker) -> list[str]:
    return [row.simulator_digest, *row.other_simulators]


def _free_bytes(resources: Resources) -> int | None:
    """The room on the disk of the blobs; None where they are in a bucket."""
    folder = Path(str(resources.settings.blobs))
    return shutil.disk_usage(folder).free if folder.is_dir() else None

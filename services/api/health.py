"""Health of the service: is the process alive, and can it do its work?"""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from kombu.exceptions import OperationalError

from db import schema
from db.repositories import simulators
from db.session import transaction
from refault.errors import RefaultError
from services.api.deps import Resources, WithResources
from services.api.schemas import Document

router = APIRouter(tags=["health"])


class Health(Document):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Document):
    """Each part the service needs; ``ok`` or what is wrong with it."""

    status: Literal["ok", "unavailable"]
    parts: dict[str, str]
    worker_count: int


@router.get("/healthz")
def healthz() -> Health:
    """Ask whether the process is alive."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is missing"}})
def readyz(response: Response, resources: WithResources) -> Readiness:
    """Ask whether requests can be served: database, schema, storage, broker."""
    checks: dict[str, Callable[[Resources], None]] = {
        "database": _database,
        "schema": _schema,
        "storage": _storage,
        "broker": _broker,
    }
    parts = {name: _outcome(check, resources) for name, check in checks.items()}
    is_ready = all(outcome == "ok" for outcome in parts.values())
    worker_count = 0
    if parts["schema"] == "ok":
        with transaction(resources.engine) as session:
            worker_count = len(simulators.alive_workers(session))
    if not is_ready:
        response.status_code = 503
    return Readiness(
        status="ok" if is_ready else "unavailable", parts=parts, worker_count=worker_count
    )


def _outcome(check: Callable[[Resources], None], resources: Resources) -> str:
    try:
        check(resources)
    except (RefaultError, OperationalError, OSError) as error:
        return str(error) or type(error).__name__
    return "ok"


def _database(resources: Resources) -> None:
    with transaction(resources.engine) as session:
        session.connection()


def _schema(resources: Resources) -> None:
    _database(resources)
    if not schema.is_current(resources.engine):
        raise OSError("the database has another schema: run `python -m db upgrade`")


def _storage(resources: Resources) -> None:
    resources.blobs.check()


def _broker(resources: Resources) -> None:
    resources.sender.check()

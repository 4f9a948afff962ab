"""Health of the service: is the process alive, and can it do its work?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from kombu.exceptions import OperationalError
from pydantic import Field

from db import revisions
from db.repositories import simulators
from db.session import transaction
from refault.errors import RefaultError
from services.api.deps import Resources, WithResources
from services.api.schemas import Document

router = APIRouter(tags=["health"])


class Health(Document):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(Document):
    """A part the service needs."""

    state: Literal["ok", "unavailable"]
    detail: str | None = Field(None, description="The error")
    remedy: str | None = Field(None, description="The remedy")


class Readiness(Document):
    """Each part the service needs, by name."""

    status: Literal["ok", "unavailable"]
    parts: dict[str, Part]
    worker_count: int


@router.get("/healthz")
def healthz() -> Health:
    """Check that the process is alive."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is missing"}})
def readyz(response: Response, resources: WithResources) -> Readiness:
    """Check that requests can be served: database, schema, storage, broker.

    Live workers are counted but not required: batches wait for them.
    """
    parts = parts_of(resources)
    is_ready = all(part.state == "ok" for part in parts.values())
    worker_count = 0
    if parts["schema"].state == "ok":
        with transaction(resources.engine) as session:
            worker_count = len(simulators.alive_workers(session))
    if not is_ready:
        response.status_code = 503
    return Readiness(
        status="ok" if is_ready else "unavailable", parts=parts, worker_count=worker_count
    )


def parts_of(resources: Resources) -> dict[str, Part]:
    """Each part the service needs, looked at now."""
    return {check.name: check.run(resources) for check in _CHECKS}


@dataclass(frozen=True)
class _Check:
    name: str
    look: Callable[[Resources], None]
    remedy: str

    def run(self, resources: Resources) -> Part:
        try:
            self.look(resources)
        except (RefaultError, OperationalError, OSError, sa.exc.SQLAlchemyError) as error:
            lines = str(error).strip().splitlines()
            detail = lines[0] if lines else type(error).__name__
            return Part(state="unavailable", detail=detail, remedy=self.remedy)
        return Part(state="ok")


def _database(resources: Resources) -> None:
    with transaction(resources.engine) as session:
        session.connection()


def _schema(resources: Resources) -> None:
    _database(resources)
    found, wanted = revisions.current(resources.engine), revisions.head()
    if found != wanted:
        raise OSError(
            f"the database is at migration {found or 'none'}, this release needs {wanted}"
        )


def _storage(resources: Resources) -> None:
    resources.blobs.check()


def _broker(resources: Resources) -> None:
    resources.sender.check()


_CHECKS = (
    _Check("database", _database, "Start Postgres, or correct REFAULT_DATABASE_URL"),
    _Check(
        "schema",
        _schema,
        "Run `python -m db upgrade`; if the database is newer, deploy the release it belongs to",
    ),
    _Check(
        "storage",
        _storage,
        "Make the folder REFAULT_BLOBS writable for the service's user, with free space",
    ),
    _Check("broker", _broker, "Start Valkey or Redis, or correct REFAULT_BROKER_URL"),
)

"""Rows of workers as documents."""

from sqlalchemy.orm import Session

from db.repositories import simulators, worker_starts
from services.api.workers.schemas import StartingWorker, Workers


def starting(session: Session) -> list[StartingWorker]:
    """The workers that are starting."""
    return [StartingWorker.model_validate(row) for row in worker_starts.starting(session)]


def workers_of(session: Session) -> Workers:
    """All workers."""
    return Workers(
        alive_count=simulators.alive_count(session),
        starting=starting(session),
    )

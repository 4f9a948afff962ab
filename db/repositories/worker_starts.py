"""Workers that are starting: what they compile, and how far they are.

A row is there from the beginning of a worker's start until it has registered. One that was killed
meanwhile leaves its row, which is not shown once its heartbeat is old.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import WorkerStart
from db.repositories.simulators import WORKER_LOST_AFTER_SECONDS

SHOWN_MAX = 20


@dataclasses.dataclass(frozen=True)
class Step:
    """What is compiled: ``number`` of ``count`` things; and how many kernels of all are done."""

    what: str
    number: int
    count: int
    kernels_done: int = 0
    kernels_total: int = 0


def announce(session: Session, *, name: str, host: str, pid: int, step: Step) -> None:
    """Record that a worker is starting and alive, and how far it is."""
    values = {
        "host": host,
        "pid": pid,
        "step": step.what,
        "step_number": step.number,
        "step_count": step.count,
        "kernels_done": step.kernels_done,
        "kernels_total": step.kernels_total,
    }
    session.execute(
        insert(WorkerStart)
        .values(name=name, **values)
        .on_conflict_do_update(
            index_elements=[WorkerStart.name], set_=values | {"heartbeat_at": sa.func.now()}
        )
    )


def over(session: Session, name: str) -> None:
    """The worker has registered, or gives up. Rows of those that were killed go with it."""
    session.execute(
        sa.delete(WorkerStart).where(sa.or_(WorkerStart.name == name, sa.not_(_is_alive())))
    )


def all_over(session: Session) -> None:
    """None is starting, since the process that starts all of them has just started."""
    session.execute(sa.delete(WorkerStart))


def starting(session: Session) -> Sequence[WorkerStart]:
    """The workers that are starting, the earliest first; at most 20."""
    query = sa.select(WorkerStart).where(_is_alive()).order_by(WorkerStart.started_at)
    return session.scalars(query.limit(SHOWN_MAX)).all()


def _is_alive() -> sa.ColumnElement[bool]:
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, WORKER_LOST_AFTER_SECONDS)
    return WorkerStart.heartbeat_at > oldest

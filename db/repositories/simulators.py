"""Which simulators there are and which workers live."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Simulator, Worker
from refault.errors import NoSimulator

WORKER_LOST_AFTER_SECONDS = 30


def register(
    session: Session, *, name: str, digest: str, semantics_version: int, host: str, pid: int
) -> None:
    """A worker has started with this simulator."""
    session.execute(
        insert(Simulator)
        .values(digest=digest, semantics_version=semantics_version)
        .on_conflict_do_update(
            index_elements=[Simulator.digest], set_={"last_started_at": sa.func.now()}
        )
    )
    values = {
        "simulator_digest": digest,
        "host": host,
        "pid": pid,
        "started_at": sa.func.now(),
        "heartbeat_at": sa.func.now(),
        "ended_at": None,
        "ended_in_order": None,
    }
    session.execute(
        insert(Worker)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=[Worker.name], set_=values)
    )


def heartbeat(session: Session, name: str) -> None:
    """The worker's consumer loop is alive."""
    session.execute(sa.update(Worker).where(Worker.name == name).values(heartbeat_at=sa.func.now()))


def ended(session: Session, name: str, *, in_order: bool) -> None:
    """The worker has stopped because it was told to, or (somebody noticed) it has died."""
    session.execute(
        sa.update(Worker)
        .where(Worker.name == name, Worker.ended_at.is_(None))
        .values(ended_at=sa.func.now(), ended_in_order=in_order)
    )


def all_ended(session: Session) -> int:
    """No worker can be alive, because whoever starts them all has just started.

    Answers how many were thought to be.
    """
    rows = session.scalars(
        sa.update(Worker)
        .where(Worker.ended_at.is_(None))
        .values(ended_at=sa.func.now(), ended_in_order=True)
        .returning(Worker.name)
    ).all()
    return len(rows)


def name_of_pid(session: Session, pid: int) -> str | None:
    """The worker of that process id that has not ended; for whoever started it on this host."""
    return session.scalars(
        sa.select(Worker.name).where(Worker.pid == pid, Worker.ended_at.is_(None))
    ).first()


def current(session: Session) -> Simulator:
    """The simulator new batches are planned for: that of the worker that started last.

    Living workers count before those that have ended, so a fleet that is being replaced
    plans for the new simulator from the first new worker on.

    Raises:
        NoSimulator: no worker has ever registered one.
    """
    alive = sa.exists().where(Worker.simulator_digest == Simulator.digest, is_alive())
    query = sa.select(Simulator).order_by(alive.desc(), Simulator.last_started_at.desc()).limit(1)
    found = session.scalars(query).first()
    if found is None:
        raise NoSimulator(
            "no worker has registered a simulator yet: start one with `python -m worker`"
        )
    return found


def is_stale(session: Session, simulator_digest: str) -> bool:
    """Whether results of that simulator are no longer what a new batch would give."""
    return current(session).digest != simulator_digest


def alive_workers(session: Session) -> Sequence[Worker]:
    """Workers whose last heartbeat is recent, by the database's clock."""
    return session.scalars(sa.select(Worker).where(is_alive()).order_by(Worker.name)).all()


def worker_count(session: Session, simulator_digest: str) -> int:
    """How many living workers have that simulator; each computes one shard at a time."""
    query = sa.select(sa.func.count()).select_from(Worker)
    query = query.where(Worker.simulator_digest == simulator_digest, is_alive())
    return session.scalar(query) or 0


def is_alive() -> sa.ColumnElement[bool]:
    """A condition on workers: not ended, and a recent heartbeat by the database's clock."""
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, WORKER_LOST_AFTER_SECONDS)
    return sa.and_(Worker.ended_at.is_(None), Worker.heartbeat_at > oldest)

"""Which simulators there are, of which engines, and which workers are alive.

A simulator is one version of an engine. Rows keep the digest it had when they were written; where
several digests name the same simulator (:mod:`refault.lineage`), results of each are found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.errors import NoSimulator
from db.models import Batch, Shard, Simulator, Worker
from refault.lineage import names_of, present_name

WORKER_LOST_AFTER_SECONDS = 30


def register(
    session: Session,
    *,
    name: str,
    simulators: Mapping[str, str],
    semantics_version: int,
    host: str,
    pid: int,
    can_build: bool = False,
) -> None:
    """Record that a worker has started with these simulators: digests by engine.

    ``can_build``: it also compiles kernels of users' trees.
    """
    for engine, digest in simulators.items():
        session.execute(
            insert(Simulator)
            .values(digest=digest, engine=engine, semantics_version=semantics_version)
            .on_conflict_do_update(
                index_elements=[Simulator.digest], set_={"last_started_at": sa.func.now()}
            )
        )
    first, *others = simulators.values()
    values = {
        "simulator_digest": first,
        "other_simulators": others,
        "can_build": can_build,
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
    """Record that the worker's consumer loop is alive."""
    session.execute(sa.update(Worker).where(Worker.name == name).values(heartbeat_at=sa.func.now()))


def ended(session: Session, name: str, *, in_order: bool) -> None:
    """Record that the worker was stopped, or was found to have died."""
    session.execute(
        sa.update(Worker)
        .where(Worker.name == name, Worker.ended_at.is_(None))
        .values(ended_at=sa.func.now(), ended_in_order=in_order)
    )


def all_ended(session: Session) -> int:
    """Record that no worker is alive, since the process that starts all of them has just started.

    Answers how many had not been recorded as ended.
    """
    rows = session.scalars(
        sa.update(Worker)
        .where(Worker.ended_at.is_(None))
        .values(ended_at=sa.func.now(), ended_in_order=True)
        .returning(Worker.name)
    ).all()
    return len(rows)


def name_of_pid(session: Session, pid: int) -> str | None:
    """The worker of that process id that has not ended; for the process that started it."""
    return session.scalars(
        sa.select(Worker.name).where(Worker.pid == pid, Worker.ended_at.is_(None))
    ).first()


def current(session: Session) -> dict[str, str]:
    """The digest of each engine that new batches are planned for: of the worker started last.

    Living workers take precedence over ended ones, so while workers are being replaced,
    batches are planned for the new simulator as soon as the first new worker runs.

    Raises:
        NoSimulator: no worker has ever registered one.
    """
    found = known(session)
    if not found:
        raise NoSimulator(
            "no worker has registered a simulator yet: start one with `python -m worker`; one that "
            "is starting compiles for a while the first time (GET /api/v1/workers says how far)"
        )
    return found


def known(session: Session) -> dict[str, str]:
    """The same; empty where no worker has ever registered one."""
    alive = sa.exists().where(_has(Simulator.digest), is_alive())
    query = (
        # In ascending order of precedence: the last of each engine stays.
        sa.select(Simulator.engine, Simulator.digest).order_by(alive, Simulator.last_started_at)
    )
    return {row.engine: row.digest for row in session.execute(query)}


def is_stale(simulators: Mapping[str, str], present: Mapping[str, str]) -> bool:
    """Whether a new batch of those engines would be run with another version of any of them.

    Both are digests by engine, ``present`` those of :func:`current`.
    """
    return any(
        engine in present and present_name(present[engine]) != present_name(digest)
        for engine, digest in simulators.items()
    )


def all_names(digests: Iterable[str]) -> list[str]:
    """Every current or earlier digest of these simulators."""
    return list(dict.fromkeys(name for digest in digests for name in names_of(digest)))


def alive_workers(session: Session) -> Sequence[Worker]:
    """Workers whose last heartbeat is recent, by the database's clock."""
    return session.scalars(sa.select(Worker).where(is_alive()).order_by(Worker.name)).all()


def known_workers(session: Session, limit: int) -> Sequence[sa.Row[Worker, bool]]:
    """Workers, each with whether it is alive: those first, then the latest of the others."""
    query = sa.select(Worker, is_alive()).order_by(is_alive().desc(), Worker.heartbeat_at.desc())
    return session.execute(query.limit(limit)).all()


def engines_of(session: Session, digests: Collection[str]) -> dict[str, str]:
    """The engine of each simulator."""
    query = sa.select(Simulator.digest, Simulator.engine).where(Simulator.digest.in_(digests))
    return {row.digest: row.engine for row in session.execute(query)}


def worker_count(session: Session, digests: Collection[str]) -> int:
    """How many living workers have one of these simulators; each computes one shard at a time."""
    names = all_names(digests)
    query = sa.select(sa.func.count()).select_from(Worker)
    query = query.where(
        sa.or_(Worker.simulator_digest.in_(names), Worker.other_simulators.overlap(names)),
        is_alive(),
    )
    return session.scalar(query) or 0


def alive_count(session: Session) -> int:
    """How many workers are alive, whatever they can compute."""
    return session.scalar(sa.select(sa.func.count()).select_from(Worker).where(is_alive())) or 0


def builder_count(session: Session) -> int:
    """How many living workers compile kernels of users' trees."""
    query = sa.select(sa.func.count()).select_from(Worker).where(Worker.can_build, is_alive())
    return session.scalar(query) or 0


def of_workers(session: Session, *which: sa.ColumnElement[bool]) -> set[str]:
    """The simulators of these workers, by all their digests."""
    query = sa.select(Worker.simulator_digest, Worker.other_simulators).where(*which)
    rows = session.execute(query)
    return set(all_names(digest for first, others in rows for digest in (first, *others)))


def needed() -> sa.ColumnElement[str]:
    """The simulator that a shard needs, in a query over shards and their batches."""
    return sa.func.coalesce(Shard.simulator_digest, Batch.simulator_digest)


def _has(digest: sa.SQLColumnExpression[str]) -> sa.ColumnElement[bool]:
    """A condition on workers: it has that simulator."""
    return sa.or_(Worker.simulator_digest == digest, digest == sa.any_(Worker.other_simulators))


def is_alive() -> sa.ColumnElement[bool]:
    """A condition on workers: not ended, and a recent heartbeat by the database's clock."""
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, WORKER_LOST_AFTER_SECONDS)
    return sa.and_(Worker.ended_at.is_(None), Worker.heartbeat_at > oldest)

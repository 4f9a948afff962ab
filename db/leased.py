"""Rows as work: claimed for a lease, extended, ended or given back under a fence.

::

            asked for
                │
                ▼     claim (attempt, lease)     the table's own end
             queued ───────────────────────► running ──────► done
                ▲                               │  │
                └── lost, or its worker ended ──┘  └─ third loss ─► failed

For tables of :class:`~db.models.base.Leased` rows that belong to no batch; shards, which do, have
``db/shards``. Nothing of a project's batches is locked.
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import KernelBuild, Question, Worker
from db.shards.endings import LOSSES_MAX
from db.shards.leases import Grip
from db.shards.messages import Message

_NO_RANK = sa.literal(0)
QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"


@dataclasses.dataclass(frozen=True)
class RowFence:
    """The right to write for a row, as long as it still has this attempt."""

    row_id: uuid.UUID
    attempt: int


RowT = TypeVar("RowT", KernelBuild, Question)


class Queue(Generic[RowT]):
    """The rows of one table; ``message`` is what is sent about a row that waits.

    ``rank`` is a column expression: of one project, rows of the lowest come first.
    """

    def __init__(
        self,
        model: type[RowT],
        message: Callable[[RowT], Message],
        rank: sa.ColumnElement[int] = _NO_RANK,
    ) -> None:
        # Any: an attribute of a class that is not known is no column to a type checker.
        self._model: Any = model
        self._message: Callable[[RowT], Message] = message
        self._rank = rank

    def oldest(self, session: Session, *which: sa.ColumnElement[bool]) -> RowT | None:
        """A queued row, locked: of the project with the fewest running, the oldest of its rank.

        None if nothing waits that nobody else is just taking. ``which`` are conditions: what this
        worker can do.
        """
        model = self._model
        running = (
            sa.select(model.project_id, sa.func.count().label("count"))
            .where(model.state == RUNNING)
            .group_by(model.project_id)
            .subquery()
        )
        return session.scalars(
            sa.select(model)
            .outerjoin(running, running.c.project_id == model.project_id)
            .where(model.state == QUEUED, *which)
            .order_by(sa.func.coalesce(running.c.count, 0), self._rank, model.created_at, model.id)
            .limit(1)
            .with_for_update(of=model, skip_locked=True)
        ).first()

    def take(
        self,
        session: Session,
        rows: Sequence[RowT],
        *,
        worker: str,
        worker_pid: int,
        lease_seconds: float,
    ) -> None:
        """Give locked rows to a process of a worker."""
        for row in rows:
            row.state, row.worker, row.worker_pid = RUNNING, worker, worker_pid
            row.started_at = sa.func.clock_timestamp()
            row.lease_until = _in(lease_seconds)
            row.units_done = row.units_total = 0
        session.flush()

    def held(self, session: Session, fence: RowFence) -> RowT | None:
        """The row, locked, if the fence still holds."""
        return session.scalars(
            sa.select(self._model)
            .where(self._is_any_of([fence]), self._model.state == RUNNING)
            .with_for_update(of=self._model)
            .execution_options(populate_existing=True)
        ).one_or_none()

    def extend(
        self,
        session: Session,
        fences: Sequence[RowFence],
        *,
        lease_seconds: float,
        units: Mapping[uuid.UUID, tuple[int, int]],
    ) -> Grip:
        """Extend the leases of a live worker, and store the progress; LOST if no fence holds."""
        held = session.scalars(
            sa.select(self._model)
            .where(self._is_any_of(fences), self._model.state == RUNNING)
            .order_by(self._model.id)
            .with_for_update(of=self._model)
        ).all()
        for row in held:
            row.lease_until = _in(lease_seconds)
            row.units_done, row.units_total = units.get(row.id, (0, 0))
        session.flush()
        return Grip.HELD if held else Grip.LOST

    def glance(self, session: Session, fences: Sequence[RowFence]) -> Grip:
        """What :meth:`extend` would answer, without writing."""
        query = sa.select(self._model.id).where(
            self._is_any_of(fences), self._model.state == RUNNING
        )
        return Grip.HELD if session.scalar(query.limit(1)) else Grip.LOST

    def give_back(
        self, session: Session, fence: RowFence, error: str, *, counts_as_loss: bool = True
    ) -> Message | None:
        """End an attempt without an outcome; answers the message for the next, if there is one."""
        row = self.held(session, fence)
        return None if row is None else self.requeue(session, row, error, counts_as_loss)

    def requeue(
        self,
        session: Session,
        row: RowT,
        error: str,
        counts_as_loss: bool,  # noqa: FBT001
    ) -> Message | None:
        """The same, of a row that is held."""
        row.lost_count += int(counts_as_loss)
        row.lease_until, row.error = None, error
        if row.lost_count >= LOSSES_MAX:
            row.state = FAILED
            row.finished_at = sa.func.clock_timestamp()
            session.flush()
            return None
        row.state = QUEUED
        row.published_at = sa.func.clock_timestamp()
        row.attempt += 1
        session.flush()
        return self._message(row)

    def held_by(self, session: Session, worker: str, worker_pid: int) -> list[RowFence]:
        """What this process of this worker has claimed and not yet ended."""
        model = self._model
        query = sa.select(model.id, model.attempt).where(
            model.state == RUNNING, model.worker == worker, model.worker_pid == worker_pid
        )
        return [RowFence(row.id, row.attempt) for row in session.execute(query)]

    def processes_of(self, session: Session, worker: str) -> set[int]:
        """The processes of this worker that have claimed rows and not yet ended them."""
        model = self._model
        query = sa.select(model.worker_pid).where(
            model.state == RUNNING, model.worker == worker, model.worker_pid.is_not(None)
        )
        return set(session.scalars(query.distinct()))

    def abandoned(self, session: Session, *, limit: int = 100) -> list[RowFence]:
        """Running rows whose lease ran out, or whose worker is known to have ended."""
        model = self._model
        query = (
            sa.select(model.id, model.attempt)
            .where(model.state == RUNNING, self._is_abandoned())
            .limit(limit)
        )
        return [RowFence(row.id, row.attempt) for row in session.execute(query)]

    def is_lost(self, session: Session, row: RowT) -> bool:
        """Whether a row is still abandoned now that it is locked."""
        return bool(session.scalar(sa.select(self._is_abandoned()).where(self._model.id == row.id)))

    def stale(self, session: Session, *, older_than_seconds: float) -> list[Message]:
        """A message for each queued row whose message may be lost; some may be equal."""
        model = self._model
        age = sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
        rows = session.scalars(
            sa.select(model)
            .where(
                model.state == QUEUED,
                sa.or_(
                    model.published_at.is_(None),
                    model.published_at < sa.func.clock_timestamp() - age,
                ),
            )
            .order_by(model.id)
            .with_for_update(of=model, skip_locked=True)
        ).all()
        for row in rows:
            row.published_at = sa.func.clock_timestamp()
        session.flush()
        return [self._message(row) for row in rows]

    def _is_abandoned(self) -> sa.ColumnElement[bool]:
        model = self._model
        ended = sa.exists().where(Worker.name == model.worker, Worker.ended_at.is_not(None))
        return sa.or_(model.lease_until < sa.func.clock_timestamp(), ended)

    def _is_any_of(self, fences: Sequence[RowFence]) -> sa.ColumnElement[bool]:
        keys = [(fence.row_id, fence.attempt) for fence in fences]
        return sa.tuple_(self._model.id, self._model.attempt).in_(keys)


def is_in_order(session: Session, row: Any) -> bool:
    """Whether the row's worker said that it ends: what it held counts as no loss."""
    found = session.scalar(sa.select(Worker.ended_in_order).where(Worker.name == row.worker))
    return bool(found)


def _in(seconds: float) -> sa.ColumnElement[datetime.datetime]:
    length = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=sa.Interval)
    return sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) + length

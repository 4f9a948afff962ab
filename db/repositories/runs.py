"""Runs by id and by batch."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Run
from refault.errors import NotFound


def get(session: Session, row_id: uuid.UUID) -> Run:
    """The run of that id, with its result; raises :class:`~refault.errors.NotFound`."""
    found = session.get(Run, row_id)
    if found is None:
        raise NotFound(f"no run {row_id}: GET the batch for its runs")
    return found


def simulator_of(session: Session, run: Run) -> str:
    """The simulator the run was planned for, and so the one its result is of."""
    return session.scalars(sa.select(Batch.simulator_digest).where(Batch.id == run.batch_id)).one()


def of_batch(session: Session, batch_id: uuid.UUID) -> Sequence[Run]:
    """The batch's runs, by trace and column."""
    query = sa.select(Run).where(Run.batch_id == batch_id).order_by(Run.position)
    return session.scalars(query).unique().all()

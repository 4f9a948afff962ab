"""Runs by id and by batch."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from db.models import Result, Run, Trace
from db.repositories.pagination import PAGE_SIZE, Page, sorted_page
from refault.errors import NotFound


def get(session: Session, row_id: uuid.UUID) -> Run:
    """The run of that id, with its result and batch; raises :class:`~refault.errors.NotFound`."""
    found = session.get(Run, row_id, options=[joinedload(Run.result), joinedload(Run.batch)])
    if found is None:
        raise NotFound(f"no run {row_id}: GET the runs of its batch")
    return found


def simulator_of(run: Run) -> str:
    """The simulator that the run was planned for, which is that of its result."""
    return run.batch.simulator_of(run.variant.engine)


def of_cell(
    session: Session, batch_id: uuid.UUID, trace_id: uuid.UUID, variant_digest: str
) -> uuid.UUID | None:
    """The id of a batch's run of a trace under a variant; None if there is none."""
    return session.scalar(
        sa.select(Run.id).where(
            Run.batch_id == batch_id,
            Run.trace_id == trace_id,
            Run.variant_digest == variant_digest,
        )
    )


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which runs of a batch are wanted; None or empty excludes nothing."""

    states: tuple[str, ...] = ()
    trace_digest: str | None = None
    variant_digest: str | None = None


EVERY = Filter()
"""Excludes nothing."""


def list_page(
    session: Session,
    batch_id: uuid.UUID,
    *,
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
    wanted: Filter = EVERY,
) -> Page[Run]:
    """Runs of a batch by trace and column, without results; ``after`` is the last one seen."""
    query = sa.select(Run).where(Run.batch_id == batch_id)
    if wanted.states:
        query = query.where(Run.state.in_(wanted.states))
    if wanted.trace_digest is not None:
        query = query.join(Trace, Trace.id == Run.trace_id).where(
            Trace.digest == wanted.trace_digest
        )
    if wanted.variant_digest is not None:
        query = query.where(Run.variant_digest == wanted.variant_digest)
    place = (Run.position, False)
    return sorted_page(session, query, Run.id, place, after=after, limit=limit)


def alarmed(session: Session, run_ids: Sequence[uuid.UUID]) -> frozenset[uuid.UUID]:
    """Which of these runs have a result with an integrity alarm."""
    query = (
        sa.select(Run.id)
        .join(Result, Result.id == Run.result_id)
        .where(Run.id.in_(run_ids), Result.integrity_alarm.is_not(None))
    )
    return frozenset(session.scalars(query))

"""The events of a batch, in order, for its watchers."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, BatchEvent, Run


def add(session: Session, batch: Batch, kind: str, **body: Any) -> None:
    """Append an event; the batch's row must be locked, so that ids are in order.

    Every event has the current counts, so a watcher needs only the last one. Events of one
    transaction are written together, in the order they were added.
    """
    counts = {
        "state": batch.state,
        "run_count": batch.run_count,
        "done_count": batch.done_count,
        "cached_count": batch.cached_count,
        "failed_count": batch.failed_count,
        "cancelled_count": batch.cancelled_count,
    }
    session.add(BatchEvent(batch_id=batch.id, kind=kind, body={**counts, **body}))


def add_run(session: Session, batch: Batch, run: Run, *, integrity_alarm: bool = False) -> None:
    """Append that a run has reached its state."""
    add(
        session,
        batch,
        f"run.{run.state}",
        run_id=str(run.id),
        variant_digest=run.variant_digest,
        integrity_alarm=integrity_alarm,
    )


def after(
    session: Session, batch_id: uuid.UUID, last_seen: int = 0, *, limit: int = 500
) -> Sequence[BatchEvent]:
    """The events after ``last_seen``, in order, at most ``limit``."""
    query = (
        sa.select(BatchEvent)
        .where(BatchEvent.batch_id == batch_id, BatchEvent.id > last_seen)
        .order_by(BatchEvent.id)
        .limit(limit)
    )
    return session.scalars(query).all()

"""Batches: found, listed, locked and settled. Their shards are in ``db/shards``."""

from __future__ import annotations

import re
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.identifiers import CODE_ALPHABET
from db.models import Batch, BatchEvent, Shard
from db.repositories import batch_events, webhooks
from refault.errors import NotFound

_CODE = re.compile(f"b-[{CODE_ALPHABET}]+")


def get(session: Session, name: str | uuid.UUID) -> Batch:
    """The batch of that id or code; raises :class:`~refault.errors.NotFound`."""
    found: Batch | None = None
    if isinstance(name, str) and _CODE.fullmatch(name.lower()):
        found = session.scalars(sa.select(Batch).where(Batch.code == name.lower())).one_or_none()
    else:
        try:
            found = session.get(Batch, uuid.UUID(str(name)))
        except ValueError:
            found = None
    if found is None:
        raise _unknown(name)
    return found


def glance(session: Session, batch_id: uuid.UUID) -> sa.Row[Any]:
    """The progress of the batch, cheap enough to poll; raises like :func:`get`.

    State and counts, ``events_done`` and ``events_total`` of its shards, and ``newest_step``, the
    id of its latest event or 0, all read at one moment.
    """
    shards = (
        sa.select(
            sa.func.coalesce(sa.func.sum(Shard.events_done), 0).label("events_done"),
            sa.func.coalesce(sa.func.sum(Shard.events_total), 0).label("events_total"),
        )
        .where(Shard.batch_id == batch_id)
        .subquery()
    )
    newest = sa.select(sa.func.max(BatchEvent.id)).where(BatchEvent.batch_id == batch_id)
    query = sa.select(
        Batch.state,
        Batch.run_count,
        Batch.done_count,
        Batch.cached_count,
        Batch.failed_count,
        Batch.cancelled_count,
        shards.c.events_done,
        shards.c.events_total,
        sa.func.coalesce(newest.scalar_subquery(), 0).label("newest_step"),
    ).where(Batch.id == batch_id)
    row = session.execute(query.join_from(Batch, shards, sa.true())).one_or_none()
    if row is None:
        raise _unknown(batch_id)
    return row


def lock(session: Session, batch_id: uuid.UUID) -> Batch:
    """Lock the batch until the transaction ends.

    Taken first by everything that changes shards or runs: the common order avoids
    deadlocks, and the batch's events get their ids in order.
    """
    query = sa.select(Batch).where(Batch.id == batch_id).with_for_update(of=Batch)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def settle(session: Session, batch: Batch) -> None:
    """End the batch if its last run has ended; the row must be locked."""
    ended_count = batch.done_count + batch.failed_count + batch.cancelled_count
    if batch.is_over or ended_count < batch.run_count:
        return
    # Read before the state is set, as a query would flush the row with a state but no time.
    now = session.scalar(sa.select(sa.func.clock_timestamp()))
    if batch.failed_count:
        batch.state = "failed"
    elif batch.cancelled_count:
        batch.state = "cancelled"
    else:
        batch.state = "done"
    batch.finished_at = now
    session.flush()
    batch_events.add(session, batch, f"batch.{batch.state}")
    webhooks.announce(
        session, "batch.failed" if batch.state == "failed" else "batch.finished", batch
    )


def _unknown(name: str | uuid.UUID) -> NotFound:
    return NotFound(f"no batch {name}: GET /api/v1/batches lists them")

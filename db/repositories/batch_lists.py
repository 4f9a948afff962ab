"""What a list shows of each batch: counts, and the first few names.

A batch may have a thousand traces, and a list five hundred batches, so a list names a few and
counts the rest. The number of queries does not depend on the number of batches.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn, BatchTrace, PatchSet, Trace
from db.repositories import patch_sets
from db.repositories.pagination import among

NAMED_MAX = 5


@dataclasses.dataclass(frozen=True)
class Contents:
    """How many traces, columns and patch sets a batch has, and the first traces and patch sets."""

    trace_count: int
    column_count: int
    patch_set_count: int
    # Rows of id, digest and name.
    traces: Sequence[sa.Row[Any]]
    patch_sets: Sequence[PatchSet]


def contents(session: Session, batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Contents]:
    """The counts and first names of each of the batches."""
    counts = {row.id: row for row in session.execute(_counts(batch_ids))}
    traces = _by_batch(session.execute(_first_traces(batch_ids)))
    sets = _by_batch(session.execute(_first_patch_sets(batch_ids)))
    set_ids = [row.patch_set_id for rows in sets.values() for row in rows]
    known = {row.id: row for row in patch_sets.get_many(session, set_ids)}
    return {
        batch_id: Contents(
            trace_count=counts[batch_id].trace_count,
            column_count=counts[batch_id].column_count,
            patch_set_count=counts[batch_id].patch_set_count,
            traces=traces.get(batch_id, ()),
            patch_sets=[
                known[row.patch_set_id]
                for row in sets.get(batch_id, ())
                if row.patch_set_id in known
            ],
        )
        for batch_id in batch_ids
    }


def _counts(batch_ids: Sequence[uuid.UUID]) -> sa.Select[Any]:
    of_batch = BatchColumn.batch_id == Batch.id
    columns = sa.select(sa.func.count()).where(of_batch)
    sets = sa.select(sa.func.count(sa.distinct(BatchColumn.patch_set_id))).where(of_batch)
    traces = sa.select(sa.func.count()).where(BatchTrace.batch_id == Batch.id)
    return sa.select(
        Batch.id,
        traces.scalar_subquery().label("trace_count"),
        columns.scalar_subquery().label("column_count"),
        sets.scalar_subquery().label("patch_set_count"),
    ).where(among(Batch.id, batch_ids))


def _first_traces(batch_ids: Sequence[uuid.UUID]) -> sa.Select[uuid.UUID, uuid.UUID, str, str]:
    first = (
        sa.select(BatchTrace.trace_id, BatchTrace.position)
        .where(BatchTrace.batch_id == Batch.id)
        .order_by(BatchTrace.position)
        .limit(NAMED_MAX)
        .correlate(Batch)
        .lateral()
    )
    return (
        sa.select(Batch.id.label("batch_id"), Trace.id, Trace.digest, Trace.name)
        .select_from(Batch)
        .join(first, sa.true())
        .join(Trace, Trace.id == first.c.trace_id)
        .where(among(Batch.id, batch_ids))
        .order_by(Batch.id, first.c.position)
    )


def _first_patch_sets(batch_ids: Sequence[uuid.UUID]) -> sa.Select[Any]:
    place = sa.func.min(BatchColumn.position)
    first = (
        sa.select(BatchColumn.patch_set_id, place.label("position"))
        .where(BatchColumn.batch_id == Batch.id)
        .group_by(BatchColumn.patch_set_id)
        .order_by(place)
        .limit(NAMED_MAX)
        .correlate(Batch)
        .lateral()
    )
    return (
        sa.select(Batch.id.label("batch_id"), first.c.patch_set_id)
        .select_from(Batch)
        .join(first, sa.true())
        .where(among(Batch.id, batch_ids))
        .order_by(Batch.id, first.c.position)
    )


def _by_batch(rows: Iterable[sa.Row[Any]]) -> dict[uuid.UUID, list[sa.Row[Any]]]:
    found: dict[uuid.UUID, list[sa.Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.batch_id, []).append(row)
    return found

"""Deleting traces, and what is deleted with them.

A trace is deleted with its runs, its shards and their snapshots, and the questions about it. A
batch with other traces continues without it; one without others is deleted too. Results, documents
and the file are shared by all projects: they are deleted with the last trace of that digest. The
answer about a deletion does not reveal whether another project has the trace.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.models import Batch, BatchTrace, Document, Project, Question, Result, Run, Shard, Trace
from db.repositories.traces import KEEP_TAG
from db.scope import EVERYWHERE


@dataclasses.dataclass(frozen=True)
class Deletion:
    """What is deleted with a trace, as its project sees it.

    ``is_last``: no other project has it, so file and results are really deleted. Callers must not
    learn this. The shards of ``shard_ids`` may have snapshots, with content of the guest's tables.
    """

    trace_id: uuid.UUID
    name: str
    digest: str
    size_bytes: int
    is_last: bool
    batches: tuple[str, ...]
    shortened_batches: tuple[str, ...]
    open_batches: tuple[str, ...]
    run_count: int
    result_count: int
    shard_ids: frozenset[uuid.UUID]


def preview(session: Session, trace: Trace) -> Deletion:
    """What would be deleted with the trace."""
    found = session.scalars(
        sa.select(Batch)
        .join(BatchTrace, BatchTrace.batch_id == Batch.id)
        .where(BatchTrace.trace_id == trace.id)
        .order_by(Batch.id)
    ).all()
    counts = (
        sa.select(BatchTrace.batch_id, sa.func.count().label("trace_count"))
        .where(BatchTrace.batch_id.in_([batch.id for batch in found]))
        .group_by(BatchTrace.batch_id)
    )
    trace_counts = {row.batch_id: row.trace_count for row in session.execute(counts)}
    others = sa.select(Trace.id).where(Trace.digest == trace.digest, Trace.id != trace.id)
    is_last = session.scalar(others.limit(1).execution_options(**EVERYWHERE)) is None
    return Deletion(
        trace_id=trace.id,
        name=trace.name,
        digest=trace.digest,
        size_bytes=trace.size_bytes,
        is_last=is_last,
        batches=tuple(batch.code for batch in found if trace_counts[batch.id] == 1),
        shortened_batches=tuple(batch.code for batch in found if trace_counts[batch.id] > 1),
        open_batches=tuple(batch.code for batch in found if not batch.is_over),
        run_count=_count(session, sa.select(Run.id).where(Run.trace_id == trace.id)),
        result_count=_count(
            session,
            sa.select(Run.result_id)
            .where(Run.trace_id == trace.id, Run.result_id.is_not(None))
            .distinct(),
        ),
        shard_ids=frozenset(session.scalars(sa.select(Shard.id).where(Shard.trace_id == trace.id))),
    )


def delete(session: Session, trace: Trace, *, cascade: bool) -> Deletion:
    """Delete the trace and all that goes with it, except files; answers what was deleted.

    The caller must have locked the digest (``files.lock_digest``), and record in the same
    transaction that the file is to be removed (``placements.begin_removal``).

    Raises:
        Conflict: batches have the trace and ``cascade`` is False, or one of them is not over yet.
    """
    batches = session.scalars(
        sa.select(Batch)
        .where(Batch.id.in_(sa.select(BatchTrace.batch_id).where(BatchTrace.trace_id == trace.id)))
        .order_by(Batch.id)
        .with_for_update(of=Batch)
    ).all()
    taken = check(session, trace, cascade=cascade)
    for batch in batches:
        if batch.code in taken.batches:
            session.execute(sa.delete(Batch).where(Batch.id == batch.id))
        else:
            _shorten(session, batch, trace)
    for model in (Run, Shard, BatchTrace, Question):
        session.execute(sa.delete(model).where(model.trace_id == trace.id))
    if taken.is_last:
        for shared in (Result, Document):
            session.execute(sa.delete(shared).where(shared.trace_digest == trace.digest))
    session.execute(sa.delete(Trace).where(Trace.id == trace.id))
    return taken


def check(session: Session, trace: Trace, *, cascade: bool) -> Deletion:
    """What would be deleted with the trace; raises like :func:`delete`."""
    taken = preview(session, trace)
    codes = [*taken.batches, *taken.shortened_batches]
    if codes and not cascade:
        raise Conflict(
            f"trace {trace.digest[:12]} is part of {_listed(codes)}: "
            "?dry_run=true lists what would be deleted, ?cascade=true deletes it"
        )
    if taken.open_batches:
        raise Conflict(
            f"{_listed(taken.open_batches)} is not over: cancel it or wait, then delete the trace"
        )
    return taken


def overdue(session: Session, *, limit: int = 100) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Project and id of traces to be deleted by a retention rule: unused, not kept, and old."""
    age = sa.func.make_interval(0, 0, 0, sa.cast(Project.retention_days, sa.Integer))
    query = (
        sa.select(Trace.project_id, Trace.id)
        .join(Project, Project.id == Trace.project_id)
        .where(
            Project.retention_days.is_not(None),
            Trace.updated_at < sa.func.now() - age,
            ~Trace.tags.contains([KEEP_TAG]),
            ~sa.exists().where(BatchTrace.trace_id == Trace.id),
        )
        .order_by(Trace.id)
        .limit(limit)
    )
    return [(row.project_id, row.id) for row in session.execute(query)]


def _shorten(session: Session, batch: Batch, trace: Trace) -> None:
    """Subtract the runs of the trace from the counts of a batch that continues without it."""
    states = session.scalars(
        sa.select(Run.state).where(Run.batch_id == batch.id, Run.trace_id == trace.id)
    ).all()
    batch.run_count -= len(states)
    batch.done_count -= sum(state in {"done", "cached", "crashed"} for state in states)
    batch.cached_count -= states.count("cached")
    batch.failed_count -= states.count("failed")
    batch.cancelled_count -= states.count("cancelled")
    session.flush()


def _count(session: Session, query: sa.Select[Any]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def _listed(codes: Sequence[str]) -> str:
    shown = ", ".join(codes[:5])
    return f"batch {shown}" if len(codes) == 1 else f"batches {shown}" + ", …" * (len(codes) > 5)  # noqa: PLR2004

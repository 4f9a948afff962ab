"""The cells of a comparison, with the facts of their results or with whole results."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import BatchTrace, Result, Run, Trace
from db.repositories.pagination import among
from refault.errors import InvalidRequest
from refault.facts import Facts, facts_of
from refault.limits import limits_of
from refault.results import RunResult

_BODIES_AT_ONCE = 200
_ROWS_AT_ONCE = 500
# A page that is watched is judged repeatedly by the same facts. The largest batch fits in 25 MB.
_facts_from = functools.lru_cache(maxsize=10_000)(Facts.from_bytes)


class TraceName(NamedTuple):
    """A trace of a batch, with what a comparison shows of it."""

    id: uuid.UUID
    digest: str
    name: str
    limits: tuple[str, ...] = ()


class Cell(NamedTuple):
    """A run with the facts of its result; None while there is no result."""

    facts: Facts | None
    state: str
    error: str | None
    alarm: dict[str, Any] | None


class FullCell(NamedTuple):
    """A run with its whole result, and the digest of that; None while there is no result."""

    result: RunResult | None
    result_digest: str | None
    state: str
    error: str | None
    alarm: dict[str, Any] | None


Cells = dict[uuid.UUID, dict[str, Cell]]
"""By id of the trace, then by digest of the variant: columns with one variant share a run."""

FullCells = dict[uuid.UUID, dict[str, FullCell]]


def traces_of(session: Session, batch_id: uuid.UUID) -> Sequence[TraceName]:
    """The batch's traces, in its order."""
    return traces_of_many(session, [batch_id]).get(batch_id, [])


def traces_of_many(
    session: Session, batch_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[TraceName]]:
    """The traces of each of these batches, in its order."""
    query = (
        sa.select(
            BatchTrace.batch_id,
            Trace.id,
            Trace.digest,
            Trace.name,
            Trace.header["origin"].astext.label("origin"),
            Trace.header["losses"].label("losses"),
            Trace.statistics["verification"]["complaint"].astext.label("complaint"),
        )
        .join(BatchTrace, BatchTrace.trace_id == Trace.id)
        .where(BatchTrace.batch_id.in_(batch_ids))
        .order_by(BatchTrace.batch_id, BatchTrace.position)
    )
    found: dict[uuid.UUID, list[TraceName]] = {}
    for row in session.execute(query):
        limits = limits_of(row.origin or "", row.losses or (), row.complaint or "")
        name = TraceName(row.id, row.digest, row.name, limits)
        found.setdefault(row.batch_id, []).append(name)
    return found


def page_of(
    traces: Sequence[TraceName], *, after: uuid.UUID | None, limit: int
) -> tuple[Sequence[TraceName], uuid.UUID | None]:
    """Some of the traces, and the cursor of the next page; None on the last page.

    Raises:
        InvalidRequest: the trace of the cursor was deleted.
    """
    first = 0
    if after is not None:
        places = [place for place, trace in enumerate(traces) if trace.id == after]
        if not places:
            message = f"cursor {after}: that trace was deleted; start again with the first page"
            raise InvalidRequest(message)
        first = places[0] + 1
    found = traces[first : first + limit]
    is_last = first + limit >= len(traces)
    return found, None if is_last or not found else found[-1].id


def cells(
    session: Session,
    batch_id: uuid.UUID,
    trace_ids: Collection[uuid.UUID] | None = None,
    variants: Collection[str] | None = None,
) -> Cells:
    """The cells of a batch, or of some traces or variants of it, with facts.

    Bodies are read only for cells without facts.
    """
    wanted = [Run.batch_id == batch_id]
    if trace_ids is not None:
        wanted.append(among(Run.trace_id, list(trace_ids)))
    if variants is not None:
        wanted.append(Run.variant_digest.in_(variants))
    return _cells(session, *wanted).get(str(batch_id), {})


def cells_of_many(session: Session, batch_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Cells]:
    """All cells of each of these batches, with facts."""
    found = _cells(session, Run.batch_id.in_(batch_ids))
    return {batch_id: found.get(str(batch_id), {}) for batch_id in batch_ids}


def _cells(session: Session, *wanted: sa.ColumnElement[bool]) -> dict[str, Cells]:
    """The cells that are wanted, by id of their batch as text."""
    # Ids as text: making and hashing a UUID takes as long as judging a cell.
    query = sa.select(
        sa.cast(Run.batch_id, sa.Text),
        sa.cast(Run.trace_id, sa.Text),
        Run.variant_digest,
        Run.state,
        Run.error,
        sa.cast(Run.result_id, sa.Text),
        Result.facts,
        Result.integrity_alarm,
    ).where(*wanted)
    found: dict[str, dict[str, dict[str, Cell]]] = {}
    without: dict[uuid.UUID, list[tuple[str, str, str]]] = {}
    rows = session.execute(query.outerjoin(Result, Result.id == Run.result_id))
    # Some at a time, as the garbage collector scans what is held at once repeatedly.
    for batch, trace, variant, state, error, result, packed, alarm in rows.yield_per(_ROWS_AT_ONCE):
        facts = None if packed is None else _facts_from(packed)
        if facts is None and result is not None:
            without.setdefault(uuid.UUID(result), []).append((batch, trace, variant))
        of_batch = found.setdefault(batch, {})
        of_batch.setdefault(trace, {})[variant] = Cell(facts, state, error, alarm)
    if without:
        # Closed also where a body is damaged.
        with _bodies(session, without) as bodies:
            for row in bodies:
                facts = facts_of(RunResult.from_dict(row.body))
                for batch, trace, variant in without[row.id]:
                    of_trace = found[batch][trace]
                    of_trace[variant] = of_trace[variant]._replace(facts=facts)
    return {
        batch: {uuid.UUID(trace): of_trace for trace, of_trace in of_batch.items()}
        for batch, of_batch in found.items()
    }


def full_cells(
    session: Session,
    batch_id: uuid.UUID,
    trace_ids: Collection[uuid.UUID],
    variants: Collection[str],
) -> FullCells:
    """The cells of some of the batch's traces and variants with their whole results."""
    query = (
        sa.select(
            Run.trace_id,
            Run.variant_digest,
            Run.state,
            Run.error,
            Result.body,
            Result.body_digest,
            Result.integrity_alarm,
        )
        .outerjoin(Result, Result.id == Run.result_id)
        .where(
            Run.batch_id == batch_id,
            Run.trace_id.in_(trace_ids),
            Run.variant_digest.in_(variants),
        )
    )
    found: FullCells = {}
    for row in session.execute(query):
        found.setdefault(row.trace_id, {})[row.variant_digest] = FullCell(
            None if row.body is None else RunResult.from_dict(row.body),
            row.body_digest,
            row.state,
            row.error,
            row.integrity_alarm,
        )
    return found


def _bodies(session: Session, result_ids: Collection[uuid.UUID]) -> sa.Result[Any]:
    """Bodies of results that have no facts yet, a few at a time."""
    query = sa.select(Result.id, Result.body).where(
        Result.id.in_(result_ids), Result.outcome == "complete"
    )
    return session.execute(query.execution_options(yield_per=_BODIES_AT_ONCE))

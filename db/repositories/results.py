"""Results by the digests of trace, variant and engine: found, written once, compared later."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import Result, Run, Trace
from db.repositories import findings
from db.repositories.pagination import among
from db.repositories.simulators import all_names
from db.scope import EVERYWHERE
from refault.documents import DocumentKey
from refault.errors import NotFound, ResultError
from refault.facts import facts_of
from refault.lineage import present_name
from refault.results import RunResult


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a replay; one of the three is set.

    ``crash`` is a defect of the simulator (exception and the tail of its
    traceback) and is stored like a result. ``failure`` is why there is no result:
    the trace cannot be replayed, or its numbers break a conservation law. ``documents`` were
    gathered beside the result.
    """

    variant_digest: str
    result: RunResult | None = None
    crash: str | None = None
    failure: str | None = None
    documents: tuple[tuple[DocumentKey, bytes], ...] = ()


def find_many(
    session: Session,
    trace_digests: Sequence[str],
    variant_digests: Sequence[str],
    simulators: Collection[str],
    *,
    project_id: uuid.UUID | None = None,
) -> dict[tuple[str, str], Result]:
    """Known results of these simulators by (trace digest, variant digest).

    A variant has one engine, so only one of several simulators can have its results. Those under
    an earlier digest of it count, but one under the current digest comes first.
    With a project, only results it may know of: computed for it, linked to one of its runs, or of a
    trace that no other project has. It must not learn what other projects have run.
    """
    query = sa.select(Result).where(
        among(Result.trace_digest, trace_digests),
        among(Result.variant_digest, variant_digests),
        among(Result.simulator_digest, all_names(simulators)),
    )
    if project_id is not None:
        has_run = sa.exists().where(Run.result_id == Result.id, Run.project_id == project_id)
        is_of_others = sa.exists().where(
            Trace.digest == Result.trace_digest, Trace.project_id != project_id
        )
        query = query.where(
            sa.or_(
                Result.project_id == project_id,
                has_run,
                sa.and_(Result.project_id.is_(None), ~is_of_others),
            )
        ).execution_options(**EVERYWHERE)
    rows = session.scalars(query).all()
    # The current digests last: of two rows the later one stays.
    rows = sorted(rows, key=lambda row: present_name(row.simulator_digest) == row.simulator_digest)
    return {(row.trace_digest, row.variant_digest): row for row in rows}


def get(session: Session, row_id: uuid.UUID) -> Result:
    """The result of that id; raises :class:`~refault.errors.NotFound`."""
    found = session.get(Result, row_id)
    if found is None:
        raise NotFound(f"no result {row_id}")
    return found


def alarm_counts(session: Session, batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many cells of each batch have a result with an alarm; batches without any are missing.

    One query for all of them.
    """
    query = (
        sa.select(Run.batch_id, sa.func.count().label("alarm_count"))
        .join(Result, Result.id == Run.result_id)
        .where(among(Run.batch_id, batch_ids), Result.integrity_alarm.is_not(None))
        .group_by(Run.batch_id)
    )
    return {row.batch_id: row.alarm_count for row in session.execute(query)}


FACTS_AT_ONCE = 500


def add_facts(
    session: Session, *, after: uuid.UUID | None = None, limit: int = FACTS_AT_ONCE
) -> uuid.UUID | None:
    """Add facts to some results without them; answers the id to continue after, None at the end.

    A body that is not a result gets none, and ``python -m db verify`` reports it.
    """
    query = (
        sa.select(Result.id, Result.body)
        .where(Result.facts.is_(None), Result.body.is_not(None))
        .order_by(Result.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if after is not None:
        query = query.where(Result.id > after)
    found = []
    rows = session.execute(query).all()
    for row in rows:
        with contextlib.suppress(ResultError):
            facts = facts_of(RunResult.from_dict(row.body)).to_bytes()
            found.append({"id": row.id, "facts": facts})
    if found:
        session.execute(sa.update(Result), found)
    return rows[-1].id if len(rows) == limit else None


def link(run: Run, result: Result, *, found: bool, at: datetime.datetime | None = None) -> None:
    """End a run with a result, found by digest or computed for it; ``at`` defaults to now."""
    run.result_id = result.id
    run.found = found
    if result.outcome == "crashed":
        run.state = "crashed"
        run.error = result.crash
    else:
        run.state = "cached" if found else "done"
        run.error = None
    run.finished_at = at or sa.func.now()


def write(
    session: Session,
    outcomes: Sequence[tuple[str, str, Outcome]],
    *,
    worker: str,
    project_id: uuid.UUID | None = None,
) -> dict[tuple[str, str], tuple[Result, bool]]:
    """Store outcomes, each with the digests of its trace and its simulator.

    Answers, by (trace digest, variant digest), each row and whether an alarm was raised. The first
    complete result stays. A later one with other bytes is a defect (of the simulator, the machine
    or the disk): the row keeps its body and gets an integrity alarm with both digests. A row under
    an earlier digest of the simulator counts as the first one too.
    """
    values = {
        (trace_digest, outcome.variant_digest): _values(outcome)
        | {"simulator_digest": simulator_digest}
        for trace_digest, simulator_digest, outcome in outcomes
    }
    if not values:
        return {}
    older = _under_older_names(session, values)
    # In a common order: two workers with the same cells must not deadlock.
    new = sorted(values.keys() - older.keys())
    written = {}
    if new:
        written = _write_new(session, new, values, worker, project_id)
    for place in sorted(values.keys() - written.keys()):
        written[place] = _write_again(session, place, values[place], older.get(place), worker)
    findings.file_results(session, {row.id for row, _ in written.values()})
    return written


def _write_new(
    session: Session,
    places: Sequence[tuple[str, str]],
    values: Mapping[tuple[str, str], Mapping[str, Any]],
    worker: str,
    project_id: uuid.UUID | None,
) -> dict[tuple[str, str], tuple[Result, bool]]:
    """Add rows for those of the cells that have none."""
    created = session.scalars(
        insert(Result)
        .on_conflict_do_nothing(
            index_elements=[Result.trace_digest, Result.variant_digest, Result.simulator_digest]
        )
        .returning(Result),
        [
            {
                "id": uuid7(),
                "trace_digest": trace_digest,
                "variant_digest": variant_digest,
                "worker": worker,
                "project_id": project_id,
                **values[trace_digest, variant_digest],
            }
            for trace_digest, variant_digest in places
        ],
    )
    return {(row.trace_digest, row.variant_digest): (row, False) for row in created}


def _under_older_names(
    session: Session, values: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """The cells that have a result under an earlier digest only, with that digest."""
    digests = {entry["simulator_digest"] for entry in values.values()}
    if len(all_names(digests)) == len(digests):
        return {}
    known = find_many(
        session,
        sorted({trace_digest for trace_digest, _ in values}),
        sorted({variant_digest for _, variant_digest in values}),
        digests,
    )
    return {
        place: known[place].simulator_digest
        for place, entry in values.items()
        if place in known and known[place].simulator_digest != entry["simulator_digest"]
    }


def _write_again(
    session: Session,
    place: tuple[str, str],
    values: dict[str, Any],
    older_name: str | None,
    worker: str,
) -> tuple[Result, bool]:
    """Compare an outcome with the existing one: the row, and whether an alarm was raised.

    ``older_name``: the row has an earlier digest of the simulator.
    """
    row = session.scalars(
        sa.select(Result)
        .where(
            Result.trace_digest == place[0],
            Result.variant_digest == place[1],
            Result.simulator_digest == (older_name or values["simulator_digest"]),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    alarmed = False
    row.recomputed_at = sa.func.now()
    if row.outcome == "crashed":
        # A crash may have been the machine's fault, so it is replaced.
        for column, value in values.items():
            setattr(row, column, value)
        row.worker = worker
    elif _renamed_digest(row, values["simulator_digest"]) != values["body_digest"]:
        alarmed = True
        row.integrity_alarm = {
            "stored_digest": row.body_digest,
            "other_digest": values["body_digest"],
            "other_crash": values["crash"],
            "worker": worker,
            "at": str(session.scalar(sa.select(sa.func.now()))),
        }
    session.flush()
    session.refresh(row)
    return row, alarmed


def _renamed_digest(row: Result, simulator_digest: str) -> str | None:
    """The digest that the stored body would have with that digest of its simulator."""
    if row.simulator_digest == simulator_digest:
        return row.body_digest
    try:
        stored = RunResult.from_dict(row.body)
    except ResultError:
        return row.body_digest
    if stored.digest != row.body_digest:
        return row.body_digest
    return dataclasses.replace(stored, simulator_digest=simulator_digest).digest


def _values(outcome: Outcome) -> dict[str, Any]:
    if outcome.result is None:
        crash = outcome.crash or "the simulator ended without a result and without a reason"
        return {
            "outcome": "crashed",
            "body": None,
            "body_digest": None,
            "facts": None,
            "crash": crash,
        }
    return {
        "outcome": "complete",
        "body": outcome.result.to_dict(),
        "body_digest": outcome.result.digest,
        "facts": facts_of(outcome.result).to_bytes(),
        "crash": None,
    }

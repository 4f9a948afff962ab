"""Rows of runs as documents."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import Run
from db.repositories import runs, simulators
from services.api.runs.schemas import RunDetail, RunSummary


def summaries_of(session: Session, rows: Sequence[Run]) -> list[RunSummary]:
    """Runs as a batch lists them; as many queries for all of them as for one."""
    alarmed = runs.alarmed(session, [row.id for row in rows])
    return [
        RunSummary.model_validate(_fields(row) | {"has_integrity_alarm": row.id in alarmed})
        for row in rows
    ]


def detail_of(session: Session, run: Run) -> RunDetail:
    """A run with its result."""
    result = run.result
    alarm = result and result.integrity_alarm
    simulator_digest = runs.simulator_of(session, run)
    return RunDetail.model_validate(
        _fields(run)
        | {
            "has_integrity_alarm": alarm is not None,
            "simulator_digest": simulator_digest,
            "is_stale": simulators.is_stale(
                {run.variant.engine: simulator_digest}, simulators.current(session)
            ),
            "result": result and result.body,
            "result_digest": result and result.body_digest,
            "integrity_alarm": alarm,
        }
    )


def _fields(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "batch_id": run.batch_id,
        "trace_id": run.trace_id,
        "trace_digest": run.trace.digest,
        "variant": run.variant,
        "state": run.state,
        "error": run.error,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }

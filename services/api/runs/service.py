"""Rows of runs as documents."""

from sqlalchemy.orm import Session

from db.models import Run
from db.repositories import runs, simulators
from services.api.runs.schemas import RunDetail, RunSummary


def summary_of(run: Run) -> RunSummary:
    """A run as a batch lists it."""
    return RunSummary.model_validate(_fields(run))


def detail_of(session: Session, run: Run) -> RunDetail:
    """A run with its result."""
    result = run.result
    simulator_digest = runs.simulator_of(session, run)
    return RunDetail.model_validate(
        _fields(run)
        | {
            "simulator_digest": simulator_digest,
            "is_stale": simulators.is_stale(session, simulator_digest),
            "result": result and result.body,
            "result_digest": result and result.body_digest,
            "integrity_alarm": result and result.integrity_alarm,
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
        "has_integrity_alarm": run.result is not None and run.result.integrity_alarm is not None,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }

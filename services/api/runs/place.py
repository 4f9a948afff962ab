"""A run's place in its batch: the columns it fills, the run it is compared with, its audit."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import Batch, Run
from db.repositories import audits, runs
from db.repositories.comparisons import TraceName


def labels_of(run: Run) -> list[str]:
    """The labels of the columns that the run fills, in the batch's order."""
    columns = run.batch.columns
    return [column.label for column in columns if column.variant_digest == run.variant_digest]


def place_of(session: Session, run: Run) -> dict[str, Any]:
    """The fields of a run's document that its batch gives."""
    batch = run.batch
    base = batch.columns[0].variant_digest
    found = None
    if run.variant_digest != base:
        found = runs.of_cell(session, batch.id, run.trace_id, base)
    return {
        "batch_code": batch.code,
        "trace_name": run.trace.name,
        "labels": labels_of(run),
        "base_id": found,
        "audit": _audit(session, batch, run),
    }


def _audit(session: Session, batch: Batch, run: Run) -> dict[str, Any] | None:
    name = TraceName(run.trace_id, run.trace.digest, run.trace.name)
    question = audits.question_of(session, batch, name, run.variant_digest)
    if question is None:
        return None
    reports = audits.reports(session, batch, [name], [run.variant_digest])
    report = reports.get((run.trace_id, run.variant_digest))
    return {
        "level": batch.audit_level,
        "state": question.state,
        "error": question.error,
        "report": report and report.to_dict(),
    }

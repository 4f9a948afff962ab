"""The comparisons of a batch, judged by the thresholds of its project."""

from typing import Any

from sqlalchemy.orm import Session

from db.models import Batch, Result
from db.repositories import comparisons, simulators, thresholds
from db.repositories.comparisons import Cell
from refault.compare import Column, Comparison, Limit, Threshold, compare
from refault.results import RunResult


def comparisons_of(
    session: Session, batch: Batch, base: int = 0, trace_digest: str | None = None
) -> tuple[Comparison, ...]:
    """One comparison per trace of the batch; ``trace_digest`` leaves only that trace.

    Raises:
        ComparisonError: there is no such column.
    """
    present = simulators.current(session)
    threshold = _threshold(session)
    return tuple(
        compare(
            [_column(cell) for cell in of_trace.cells],
            base=base,
            trace_name=of_trace.trace.name,
            trace_digest=of_trace.trace.digest,
            threshold=threshold,
            present_simulator=present.digest,
        )
        for of_trace in comparisons.of_batch(session, batch)
        if trace_digest in {None, of_trace.trace.digest}
    )


def _threshold(session: Session) -> Threshold:
    return Threshold(
        limits={
            name: Limit(row.permille, row.absolute)
            for name, row in thresholds.limits(session).items()
        }
    )


def _column(cell: Cell) -> Column:
    column, run = cell.column, cell.run
    stored = run.result
    return Column(
        label=column.label,
        variant_name=column.variant.name,
        golden_name=column.variant.golden_name,
        result=None if stored is None or stored.body is None else RunResult.from_dict(stored.body),
        state=run.state,
        variant_digest=column.variant_digest,
        alarm=_alarm(stored),
        error=_last_line(run.error),
    )


def _alarm(stored: Result | None) -> str | None:
    if stored is None or stored.integrity_alarm is None:
        return None
    alarm: dict[str, Any] = stored.integrity_alarm
    other = str(alarm.get("other_digest") or "a crash")[:12]
    return (
        f"run again, the same trace, variant and simulator gave {other} "
        f"where {str(alarm.get('stored_digest'))[:12]} is stored"
    )


def _last_line(error: str | None) -> str | None:
    """The end of a traceback is the sentence; the rest is in the run."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else None

"""What a batch's comparison is made of: per trace, the columns with their runs and results."""

from __future__ import annotations

import dataclasses

from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn, Run, Trace
from db.repositories import runs


@dataclasses.dataclass(frozen=True)
class Cell:
    """A column of one trace; ``run.result`` is None while there is no result."""

    column: BatchColumn
    run: Run


@dataclasses.dataclass(frozen=True)
class TraceCells:
    """All columns of one trace, the base first."""

    trace: Trace
    cells: tuple[Cell, ...]


def of_batch(session: Session, batch: Batch) -> tuple[TraceCells, ...]:
    """The batch's cells; two columns with one variant share a run."""
    by_key = {(run.trace_id, run.variant_digest): run for run in runs.of_batch(session, batch.id)}
    return tuple(
        TraceCells(
            entry.trace,
            tuple(
                Cell(column, by_key[entry.trace_id, column.variant_digest])
                for column in batch.columns
            ),
        )
        for entry in batch.traces
    )

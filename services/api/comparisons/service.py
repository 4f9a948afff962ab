"""From a batch's stored results to its comparisons, one per trace."""

import dataclasses
import re
from typing import Any

from db.models import Batch, Result, Trace
from db.repositories import batches, comparisons, simulators
from db.repositories.comparisons import Cell
from refault.compare import Column, Comparison, compare
from refault.errors import NotFound
from refault.results import RunResult
from services.api.batches.schemas import BatchSummary
from services.api.batches.service import summary_of
from services.api.deps import Resources

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class BatchComparison:
    """What a batch came to so far. ``command`` gives the same numbers without the service."""

    batch: BatchSummary
    title: str
    command: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def of_batch(
    resources: Resources, name: str, base: int = 0, trace_digest: str | None = None
) -> BatchComparison:
    """The comparison of a batch against its column ``base``, counted from 0.

    ``trace_digest`` leaves only that trace in it.

    Raises:
        NotFound: there is no such batch, or the trace is not part of it.
        ComparisonError: there is no such column.
    """
    with resources.transaction() as session:
        batch = batches.get(session, name)
        cells = [
            of_trace
            for of_trace in comparisons.of_batch(session, batch)
            if trace_digest in {None, of_trace.trace.digest}
        ]
        if not cells:
            raise NotFound(f"batch {batch.code} has no trace {trace_digest}")
        document = summary_of(session, batch)
        present = simulators.current(session)
        names = " and ".join(entry.name for entry in document.patch_sets)
        return BatchComparison(
            batch=document,
            title=f"{names}: batch {batch.code}",
            command=_command(batch, base),
            comparisons=tuple(
                compare(
                    [_column(cell) for cell in of_trace.cells],
                    base=base,
                    trace_name=of_trace.trace.name,
                    trace_digest=of_trace.trace.digest,
                    present_simulator=present.digest,
                )
                for of_trace in cells
            ),
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


def _command(batch: Batch, base: int) -> tuple[str, ...]:
    """``refault replay`` over the same traces and machines, the base first, as words."""
    columns = [batch.columns[base], *batch.columns] if base < len(batch.columns) else batch.columns
    variants = dict.fromkeys(column.variant.text for column in columns)
    traces = [_file_name(entry.trace) for entry in batch.traces]
    options = [word for text in variants for word in ("-v", text)]
    return ("refault", "replay", *traces, *options)


def _file_name(trace: Trace) -> str:
    """What the file is likely called; a name no shell would like is replaced by the digest."""
    name = trace.name if _PLAIN_NAME.fullmatch(trace.name) else trace.digest[:12]
    return f"{name}.rft"

"""Verdicts on a batch by its project's thresholds: on all cells from facts, per trace from results.

A verdict needs only the facts of a cell (``refault/facts.py``), so a whole batch is judged at once.
Results are read only for the traces on the page, and once each.
"""

import dataclasses
import uuid
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session

from db.models import Batch, BatchColumn
from db.repositories import audits, comparisons, kernels, thresholds
from db.repositories.comparisons import Cell, Cells, FullCell, TraceName
from refault.audits import AuditReport
from refault.compare import (
    Column,
    Comparison,
    Evidence,
    JudgedTrace,
    Limit,
    Overall,
    Scale,
    Threshold,
    compare,
    overall_of,
)
from refault.compare.costs import Costs
from refault.compare.stages import PlanColumn, PlanSet, Stage, stages_of
from refault.compare.steps import TraceEvidence, decisive
from refault.errors import ComparisonError
from services.api.batches.provenance import asked_names
from services.api.comparisons.moves import Moves
from services.api.comparisons.rows import row_of


@dataclasses.dataclass(frozen=True)
class Group:
    """The columns of a batch with the same variant, with all their labels."""

    labels: tuple[str, ...]
    variant_digest: str

    @property
    def label(self) -> str:
        """All labels in one line, as in :class:`~refault.compare.ComparedColumn`."""
        return ", ".join(self.labels)


@dataclasses.dataclass(frozen=True)
class Judged:
    """The verdicts on a batch, trace by trace, the base first."""

    groups: tuple[Group, ...]
    traces: tuple[JudgedTrace, ...]
    evidence: tuple[TraceEvidence, ...]
    overall: Overall
    # Cells with an integrity alarm; two columns of one variant share a cell.
    alarm_count: int
    # The numbers of the cells, trace by trace.
    moves: tuple[Moves, ...]


def judged(
    session: Session,
    batch: Batch,
    traces: Sequence[TraceName],
    threshold: Threshold,
    base: int = 0,
    costs: Costs | None = None,
    cells: Cells | None = None,
) -> Judged:
    """The verdicts on the cells of a batch, or of one trace of it, against the column ``base``.

    ``cells`` where they were read with those of other batches; None: they are read here. ``costs``
    weigh what rose against what fell; None: the default weights, as CI jobs get them.

    Raises:
        ComparisonError: there is no such column.
    """
    groups = _grouped(batch.columns, base)
    if cells is None:
        only = [traces[0].id] if len(traces) == 1 else None
        cells = comparisons.cells(session, batch.id, only)
    reports = audits.reports(session, batch, traces)
    labels = [group.label for group in groups]
    digests = [group.variant_digest for group in groups]
    evidence = tuple(
        TraceEvidence(
            trace.name,
            trace.digest,
            {
                digest: evidence_of(cells[trace.id][digest], reports.get((trace.id, digest)))
                for digest in digests
            },
        )
        for trace in traces
    )
    scale = Scale(costs or Costs())
    rows = [row_of(tuple(trace.evidence.values()), threshold, scale) for trace in evidence]
    found = tuple(
        JudgedTrace(trace.name, trace.digest, labels, digests, row.judgements)
        for trace, row in zip(evidence, rows, strict=True)
    )
    alarm_count = sum(
        cell.alarm is not None for of_trace in cells.values() for cell in of_trace.values()
    )
    moves = tuple(row.moves for row in rows)
    stages = _stages(session, batch) if batch.plan == "ablation" else ()
    decided = decisive(batch.plan, base, stages, evidence, found, threshold, scale)
    return Judged(groups, found, evidence, overall_of(decided), alarm_count, moves)


def plan_columns(session: Session, batch: Batch) -> list[PlanColumn]:
    """The columns of a batch, as its plan made them."""
    rows = batch.patch_sets
    titles = kernels.titles(session, {row.base for row in rows if row.patches})
    sets = {
        row.id: PlanSet.of(
            row.name,
            row.base,
            row.patches,
            row.parameters,
            str(row.id),
            [titles[row.base].get(number, "") for number in row.patches]
            if row.base in titles
            else (),
        )
        for row in rows
    }
    return [
        PlanColumn(
            column.label, column.variant_digest, sets[column.patch_set_id], column.prefix_length
        )
        for column in batch.columns
    ]


def _stages(session: Session, batch: Batch) -> list[Stage]:
    return stages_of(batch.plan, plan_columns(session, batch))


def comparisons_of(
    session: Session,
    batch: Batch,
    traces: Sequence[TraceName],
    threshold: Threshold,
    chosen: Sequence[int],
    present: Mapping[str, str],
    costs: Costs | None = None,
) -> tuple[Comparison, ...]:
    """One comparison for each of ``traces``, all or some of the batch's.

    ``chosen`` are the columns by index, the base first. ``present`` are the digests of the
    engines that a new batch would be run with.

    Raises:
        ComparisonError: there is no such column.
    """
    columns = columns_of(session, batch, traces, chosen)
    return tuple(
        compare(
            [columns[trace.id][place] for place in chosen],
            trace_name=trace.name,
            trace_digest=trace.digest,
            trace_limits=trace.limits,
            threshold=threshold,
            scale=Scale(costs or Costs()),
            present=present,
        )
        for trace in traces
    )


def columns_of(
    session: Session,
    batch: Batch,
    traces: Sequence[TraceName],
    chosen: Collection[int] | None = None,
) -> dict[uuid.UUID, dict[int, Column]]:
    """The cells of each trace by its id, with whole results, by index of their columns.

    Of the ``chosen`` columns alone, where these are given: a page reads no more than it shows.
    """
    places = range(len(batch.columns)) if chosen is None else sorted(set(chosen))
    variants = {batch.columns[place].variant_digest for place in places}
    cells = comparisons.full_cells(session, batch.id, [trace.id for trace in traces], variants)
    reports = audits.reports(session, batch, traces, variants)
    sets = {row.id: row for row in batch.patch_sets}
    names = asked_names(batch.plan, batch.columns, sets)
    return {
        trace.id: {
            place: _column(
                batch.columns[place],
                names[place],
                cells[trace.id][batch.columns[place].variant_digest],
                reports.get((trace.id, batch.columns[place].variant_digest)),
            )
            for place in places
        }
        for trace in traces
    }


def _grouped(columns: Sequence[BatchColumn], base: int) -> tuple[Group, ...]:
    """The variants of the columns, the base's first, as ``compare`` makes them for a trace."""
    if not 0 <= base < len(columns):
        raise ComparisonError(
            f"base column {base} does not exist; the {len(columns)} columns count from 0"
        )
    labels: dict[str, dict[str, None]] = {}
    for column in [columns[base], *columns[:base], *columns[base + 1 :]]:
        labels.setdefault(column.variant_digest, {})[column.label] = None
    return tuple(Group(tuple(told), digest) for digest, told in labels.items())


def threshold_of(session: Session) -> Threshold:
    """The thresholds of the session's project."""
    return Threshold(
        limits={
            name: Limit(row.permille, row.absolute)
            for name, row in thresholds.limits(session).items()
        }
    )


def evidence_of(cell: Cell, audit: AuditReport | None) -> Evidence:
    """What a cell is judged by."""
    return Evidence(cell.facts, cell.state, _alarm(cell), _last_line(cell.error), audit)


def _column(column: BatchColumn, name: str, cell: FullCell, audit: AuditReport | None) -> Column:
    return Column(
        label=column.label,
        variant_name=name,
        golden_name=column.variant.golden_name,
        result=cell.result,
        state=cell.state,
        variant_digest=column.variant_digest,
        alarm=_alarm(cell),
        error=_last_line(cell.error),
        stored_digest=cell.result_digest,
        engine=column.variant.engine,
        audit=audit,
    )


def _alarm(cell: Cell | FullCell) -> str | None:
    alarm = cell.alarm
    if alarm is None:
        return None
    other = str(alarm.get("other_digest") or "a crash")[:12]
    return (
        f"run again, the same trace, variant and simulator gave {other} "
        f"where {str(alarm.get('stored_digest'))[:12]} is stored"
    )


def _last_line(error: str | None) -> str | None:
    """The last line of a traceback; the run has the rest."""
    lines = error.strip().splitlines() if error else []
    return lines[-1] if lines else None

"""A comparison for machines and for pages: JSON and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from refault.compare import titles
from refault.compare.audit_section import audit_dict
from refault.compare.comparison import ComparedColumn, Comparison
from refault.compare.costs import CostModel
from refault.compare.layout import csv_cell
from refault.compare.rows import Row, rows_of
from refault.compare.summary import findings_of, notes_of, semantics_note
from refault.compare.verdicts import Verdict
from refault.results import GAUGES

COMPARISON_VERSION = 1

CSV_COLUMNS = (
    "trace",
    "trace_digest",
    "simulator_digest",
    "column",
    "variant",
    "variant_digest",
    "golden_name",
    "verdict",
    "kind",
    "name",
    "base",
    "value",
    "change",
    "percent",
    "is_stale",
)

#: One more, only where the columns have several engines.
CSV_ENGINE = "engine"

#: The ``kind`` of modelled cycles: a weight of the cost model to a line, then the sum.
MODELLED = "modelled cycles"
IN_ALL = "in all"


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison as JSON: everything that tables, pages and charts show.

    Lists ``values``, ``changes`` and ``percents`` of a row follow ``columns``;
    None where a column has no result. ``notable`` says which changes are beyond
    the threshold, and ``balance`` of a column which costs moved and what they
    weigh all together, in modelled cycles. Counts are exact integers. Counters
    stand in reading order, the costs first. Where any column was audited,
    ``audit`` has the failed checks and the reports; ``host`` the counters of a
    real host, where they were given.
    """
    more = {"audit": audit_dict(comparison)} if comparison.is_audited else {}
    trace = comparison.trace
    if comparison.host is not None:
        more["host"] = comparison.host.to_dict(frozenset(row.name for row in comparison.counters))
    return {
        "version": COMPARISON_VERSION,
        "trace": {
            "name": trace.name,
            "digest": trace.digest,
            "event_count": trace.event_count,
            "operation_count": trace.operation_count,
            "instruction_count": trace.instruction_count,
            "is_truncated": trace.is_truncated,
            "limits": list(trace.limits),
        },
        "simulator_digest": comparison.simulator_digest,
        "simulators": dict(comparison.simulators),
        "is_stale": comparison.is_stale,
        "threshold": {
            "permille": comparison.threshold.permille,
            "operations": comparison.threshold.operations,
            "limits": {
                name: dataclasses.asdict(limit)
                for name, limit in comparison.threshold.limits.items()
            },
        },
        "weights": comparison.scale.costs.to_text(),
        "verdict": _verdict(comparison.worst_verdict),
        "columns": [_column(column) for column in comparison.columns],
        "semantics": [_row(row) for row in comparison.semantics],
        "counters": [
            _row(row) | {"is_cost": row.name in comparison.costs, "is_gauge": row.name in GAUGES}
            for row in comparison.counters_as_read
        ],
        "semantics_note": semantics_note(comparison),
        "notes": notes_of([comparison]),
    } | more


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.value,
        "title": verdict.title,
        "word": verdict.word,
        "rank": verdict.rank,
        "is_alarming": verdict.is_alarming,
    }


def _column(column: ComparedColumn) -> dict[str, Any]:
    result = column.result
    return {
        "label": column.label,
        "labels": list(column.labels),
        "variant_names": list(column.variant_names),
        "variant_digest": column.variant_digest,
        "golden_name": column.golden_name,
        "engine": column.engine,
        "has_real_code_result": column.has_real_code_result,
        "state": column.state,
        "error": column.error,
        "verdict": _verdict(column.verdict),
        "reason": column.reason,
        "balance": column.balance.to_dict() if column.balance else None,
        "is_same_to_guest": column.is_same_to_guest,
        "outcome_digest": result.outcome_digest if result else None,
        "page_digest": result.page_digest if result else None,
        "result_digest": column.result_digest,
        "operation_count": result.operation_count if result else None,
        "finding_count": result.finding_count if result else None,
        "findings": [finding.to_dict() for finding in result.findings] if result else [],
        "findings_text": list(findings_of(column)),
        "stopped": result.stopped.to_dict() if result and result.stopped else None,
        "skipped": dict(result.skipped) if result else {},
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "values": list(row.values),
        "changes": list(row.deltas),
        "percents": list(row.percents),
        "notable": list(row.notable),
        "is_same": row.is_same,
    }


# --- CSV -----------------------------------------------------------------------------------


def to_csv(comparisons: Sequence[Comparison], models: Sequence[CostModel] = ()) -> str:
    """Every number of every column, one to a line, for spreadsheets and scripts (RFC 4180).

    Where there are columns of several engines, each line ends with the engine's. ``models``, one
    for each comparison or none, add the modelled cycles below the exact counts.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    is_mixed = len({name for comparison in comparisons for name in comparison.engines}) > 1
    writer.writerow((*CSV_COLUMNS, CSV_ENGINE) if is_mixed else CSV_COLUMNS)
    for number, comparison in enumerate(comparisons):
        modelled = _modelled(comparison, models[number]) if models else ()
        for kind, rows in (
            ("semantics", comparison.semantics),
            ("counter", comparison.counters),
            (MODELLED, modelled),
        ):
            for row in rows:
                for place, column in enumerate(comparison.columns):
                    engine = [titles.engine_word(column.engine)] if is_mixed else []
                    writer.writerow([*_csv_row(comparison, column, kind, row, place), *engine])
    return text.getvalue()


def _modelled(comparison: Comparison, model: CostModel) -> tuple[Row, ...]:
    """The cycles of each weight, and all of them, as rows like those of the counts."""
    named = [(term.name, term.cycles) for term in model.terms] + [(IN_ALL, model.totals)]
    numbers = [
        {name: cycles for name, of in named if (cycles := of[place]) is not None}
        for place in range(len(comparison.columns))
    ]
    # A column that stopped early has no changes, in cycles as in counts.
    is_as_far = [
        any(row.deltas[place] is not None for row in comparison.counters)
        for place in range(len(comparison.columns))
    ]
    return rows_of([name for name, _ in named], numbers, is_as_far)


def _csv_row(
    comparison: Comparison, column: ComparedColumn, kind: str, row: Row, place: int
) -> list[str | int | None]:
    return [
        csv_cell(comparison.trace.name),
        comparison.trace.digest,
        column.result.simulator_digest if column.result else None,
        csv_cell(column.label),
        csv_cell(column.variant_names[0]),
        column.variant_digest,
        column.golden_name,
        column.verdict.value,
        kind,
        row.name,
        row.values[0],
        row.values[place],
        row.deltas[place],
        row.percents[place],
        str(comparison.is_stale).lower(),
    ]

"""A comparison for machines and for pages: JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
from collections.abc import Sequence
from typing import Any

from refault.compare import titles
from refault.compare.audit_section import audit_dict, audit_items
from refault.compare.comparison import ComparedColumn, Comparison
from refault.compare.layout import clean, csv_cell
from refault.compare.percent import change_text
from refault.compare.rows import Row
from refault.compare.summary import costs_summary, engines_of, findings_of, notes_of, semantics_note
from refault.compare.verdicts import Verdict
from refault.errors import ComparisonError
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

#: Rows of the semantics that say how much was checked, not what was wrong.
_COUNTED = frozenset({"accesses", "witnessed"})
_MARKDOWN_SIGNS = "\\`*_{}[]<>#|~"


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


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """Every number of every column, one to a line, for spreadsheets and scripts (RFC 4180).

    Where there are columns of several engines, each line ends with the engine's.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    is_mixed = len({name for comparison in comparisons for name in comparison.engines}) > 1
    writer.writerow((*CSV_COLUMNS, CSV_ENGINE) if is_mixed else CSV_COLUMNS)
    for comparison in comparisons:
        for kind, rows in (("semantics", comparison.semantics), ("counter", comparison.counters)):
            for row in rows:
                for place, column in enumerate(comparison.columns):
                    engine = [titles.engine_word(column.engine)] if is_mixed else []
                    writer.writerow([*_csv_row(comparison, column, kind, row, place), *engine])
    return text.getvalue()


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


# --- Markdown --------------------------------------------------------------------------------


def to_markdown(
    comparisons: Sequence[Comparison],
    *,
    title: str,
    command: str | Sequence[str],
    every_counter: bool = False,
) -> str:
    """The comparisons as Markdown, for a merge request or a wiki; the same numbers as the text."""
    if not comparisons:
        raise ComparisonError("nothing to print: compare at least one trace")
    lines = [f"# {_plain(title)}", ""]
    for mean in costs_summary(comparisons):
        lines += [_plain(mean), ""]
    for comparison in comparisons:
        lines += _markdown_trace(comparison, every_counter=every_counter)
    for note in notes_of(comparisons):
        lines += [f"Note: {_plain(note)}", ""]
    if engines := engines_of(comparisons):
        lines += [f"Engine {', '.join(f'{name} `{digest}`' for name, digest in engines)}.", ""]
    shown = clean(command if isinstance(command, str) else shlex.join(command))
    return "\n".join([*lines, "Reproduce with:", "", f"    {shown}"]) + "\n"


def _markdown_trace(comparison: Comparison, *, every_counter: bool) -> list[str]:
    digest = (comparison.trace.digest or "")[:12]
    columns = comparison.columns
    heads = [
        _plain(column.label) + ("" if column.has_real_code_result else " \\*") for column in columns
    ]
    lines = [
        f"## {_plain(comparison.trace.name)}{f' `{digest}`' if digest else ''}",
        "",
        _table_row(["", *heads]),
        _table_row(["---", *["---:"] * len(columns)]),
        *_engine_row(comparison),
        _table_row(["**verdict**", *(f"**{column.verdict.title}**" for column in columns)]),
    ]
    wrong = [row for row in comparison.semantics if any(row.values) and row.name not in _COUNTED]
    lines += [_table_row([f"**{row.name}**", *map(_number, row.values)]) for row in wrong]
    for row in comparison.counters_as_read:
        if every_counter or not row.is_same:
            lines.append(_table_row([f"`{row.name}`", *_markdown_cells(row)]))
    lines.append("")
    if any(not column.has_real_code_result for column in columns):
        lines += ["\\* the real kernel code was never run with these patches.", ""]
    note = semantics_note(comparison)
    lines += [_plain(note), ""] if note else []
    for column in columns:
        if column.verdict is not Verdict.BASE or column.reason:
            lines.append(
                f"- **{_plain(column.label)}** {column.verdict.title}: {_plain(column.reason)}"
            )
            lines += [f"  - {_plain(finding)}" for finding in findings_of(column)]
    headline, *items = audit_items(comparison, [column.label for column in columns]) or [""]
    if headline:
        lines += ["", _plain(headline), "", *(f"- {_plain(item)}" for item in items)]
    return [*lines, ""]


def _engine_row(comparison: Comparison) -> list[str]:
    """Which engine each column is of, where there are several."""
    if len(comparison.engines) == 1:
        return []
    words = (titles.engine_word(column.engine) for column in comparison.columns)
    return [_table_row(["engine", *words])]


def _markdown_cells(row: Row) -> list[str]:
    cells = []
    for place, (value, delta, percent) in enumerate(
        zip(row.values, row.deltas, row.percents, strict=True)
    ):
        if value is None or delta is None or place == 0:
            cells.append(_number(value))
        elif delta == 0:
            cells.append("=")
        else:
            cells.append(f"{change_text(delta)}{f' ({percent})' if percent else ''}")
    return cells


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """User text, escaped so that it is no markup."""
    return "".join(f"\\{char}" if char in _MARKDOWN_SIGNS else char for char in clean(text))

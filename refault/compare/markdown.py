"""A comparison as Markdown, for a merge request or a wiki: the same numbers as the text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from refault.compare import titles
from refault.compare.answers import answer
from refault.compare.audit_section import audit_items
from refault.compare.comparison import Comparison
from refault.compare.cost_text import estimates_text
from refault.compare.costs import CostModel
from refault.compare.interactions import Interaction
from refault.compare.layout import clean, counted
from refault.compare.overall import Overall
from refault.compare.percent import change_text, signed_percent
from refault.compare.rows import Row
from refault.compare.steps import Step
from refault.compare.summary import costs_summary, engines_of, findings_of, notes_of, semantics_note
from refault.compare.verdicts import Verdict
from refault.errors import ComparisonError

#: Rows of the semantics that say how much was checked, not what was wrong.
_COUNTED = frozenset({"accesses", "witnessed"})
_MARKDOWN_SIGNS = "\\`*_{}[]<>#|~"


def to_markdown(
    comparisons: Sequence[Comparison],
    *,
    title: str,
    command: str | Sequence[str],
    every_counter: bool = False,
    verdict: Overall | None = None,
    plan: str = "",
    steps: Sequence[Step] = (),
    interactions: Sequence[Interaction] = (),
    models: Sequence[CostModel] = (),
) -> str:
    """The comparisons as Markdown; the arguments are those of :func:`~refault.compare.to_text`.

    ``models``, one for each comparison or none, put modelled cycles below the exact counts.

    Raises:
        ComparisonError: nothing to print.
    """
    if not comparisons:
        raise ComparisonError("nothing to print: compare at least one trace")
    lines = [f"# {_plain(title)}", ""]
    if verdict is not None:
        lines += [f"**Verdict:** {_plain(verdict.sentence)}.", ""]
    if told := answer(plan, steps):
        lines += [_plain(told), ""]
    lines += _steps([step.to_dict() for step in steps])
    lines += _pairs(interactions)
    for mean in costs_summary(comparisons):
        lines += [_plain(mean), ""]
    for number, comparison in enumerate(comparisons):
        lines += _markdown_trace(comparison, every_counter=every_counter)
        if models:
            lines += _model(models[number])
    for note in notes_of(comparisons):
        lines += [f"Note: {_plain(note)}", ""]
    if engines := engines_of(comparisons):
        lines += [f"Engine {', '.join(f'{name} `{digest}`' for name, digest in engines)}.", ""]
    shown = clean(command if isinstance(command, str) else shlex.join(command))
    return "\n".join([*lines, "Reproduce with:", "", f"    {shown}"]) + "\n"


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which to merge: a row for each step of the plan."""
    if not steps:
        return []
    lines = ["Which to merge, each against the column without it:", ""]
    lines += [_table_row(["column", "merge?", "why"]), _table_row(["---"] * 3)]
    for step in steps:
        title = "" if step["title"] == step["label"] else f"{step['title']}: "
        cells = [step["label"], f"**{step['merge']}**", f"{_plain(title + step['sentence'])}."]
        lines.append(_table_row([_plain(cells[0]), *cells[1:]]))
    return [*lines, ""]


def _pairs(interactions: Sequence[Interaction]) -> list[str]:
    """Pairs of patches of which there is something to say."""
    told = [f"- {_plain(each.sentence)}." for each in interactions if each.is_notable]
    return ["Two patches together, beside the sum of each alone:", "", *told, ""] if told else []


def _model(model: CostModel) -> list[str]:
    """Modelled cycles: a row for each weight, and all of them."""
    labels = [_plain(label) for label in model.labels]
    vcpus = counted(model.vcpus, "vCPU")
    what = f"in cycles, for {vcpus} (`{model.costs.to_text()}`){_plain(estimates_text(model))}"
    lines = [
        f"Cost model, not a measurement: the exact counts above times weights {what}.",
        "",
        _table_row(["cycles", "weight", *labels]),
        _table_row(["---", "---:", *["---:"] * len(labels)]),
    ]
    lines += [
        _table_row([f"`{term.name}`", f"{term.weight:,}", *map(_number, term.cycles)])
        for term in model.terms
    ]
    changes = ["" if each is None else f" ({signed_percent(each)}%)" for each in model.changes]
    totals = [
        _number(total) + (change if place else "")
        for place, (total, change) in enumerate(zip(model.totals, changes, strict=True))
    ]
    return [*lines, _table_row(["**in all**", "", *totals]), ""]


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
    return "" if value is None else f"{value:,}"


def _table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """User text, escaped so that it is no markup."""
    return "".join(f"\\{char}" if char in _MARKDOWN_SIGNS else char for char in clean(text))

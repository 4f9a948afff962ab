"""The rows of one trace's table in plain text."""

from __future__ import annotations

from refault.compare import titles
from refault.compare.comparison import ComparedColumn, Comparison
from refault.compare.grid import CELL_WIDTH, Table
from refault.compare.percent import change_text
from refault.compare.rows import Row
from refault.results import DISAGREEMENTS

NOTHING = "-"
CYCLES = "modelled cycles"


def outcomes(column: ComparedColumn, base: ComparedColumn) -> str:
    """The digest of what the guest saw, or whether it is the base's."""
    if column.result is None:
        return NOTHING
    if column is base or column.is_same_to_guest is None:
        return column.result.outcome_digest[:CELL_WIDTH]
    return "same" if column.is_same_to_guest else "DIFFER"


def add_semantics(table: Table, comparison: Comparison) -> None:
    """The disagreements with the guest that occur in any column."""
    for row in comparison.semantics:
        if row.name not in {*DISAGREEMENTS, "stale"} or not any(row.values):
            continue
        cells = [NOTHING if value is None else f"{value:,}" for value in row.values]
        table.add(titles.SEMANTICS[row.name], cells)


def add_counter(table: Table, row: Row) -> None:
    """One counter: the base's value, then changes, and below them the percentages."""
    changes, percents = [], []
    for place, (value, delta, percent) in enumerate(
        zip(row.values, row.deltas, row.percents, strict=True)
    ):
        if value is None:
            changes.append(NOTHING)
            percents.append("")
        elif place == 0 or delta is None:
            changes.append(f"{value:,}")
            percents.append("")
        else:
            changes.append(change_text(delta) if delta else "=")
            percents.append((percent or "") if delta else "")
    table.add(row.name, changes)
    if any(percents):
        table.add("", percents)


def add_cycles(table: Table, comparison: Comparison) -> None:
    """What the costs weigh all together: a model, so only its change is shown."""
    percents = [column.balance and column.balance.percent for column in comparison.columns]
    if any(percents):
        cells = [NOTHING if each is None else "=" if each == "0%" else each for each in percents]
        table.add(CYCLES, ["", *cells[1:]])

"""A table as CSV, Markdown and text, for whoever takes the rows of a page elsewhere."""

import csv
import io
from collections.abc import Sequence
from typing import Final, NamedTuple

from refault.compare.layout import clean, csv_cell, display_width

#: The suffixes and their media types.
FORMS: Final = {
    "csv": "text/csv; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_MARKDOWN_SIGNS: Final = frozenset("\\`*_{}[]<>()#+-.!|~")

Value = str | int | float | bool | None


class Table(NamedTuple):
    """Heads, and rows of as many values; ``more`` is the address of the rows that come after."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Value]]
    more: str = ""


def written(table: Table, form: str) -> str:
    """The table in one of :data:`FORMS`; CSV has plain numbers, the others grouped ones."""
    return {"csv": _as_csv, "md": _as_markdown, "txt": _as_text}[form](table)


def _as_csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([head.replace(" ", "_").lower() for head in table.heads])
    writer.writerows([[_cell(value) for value in row] for row in table.rows])
    return text.getvalue()


def _cell(value: Value) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(value) if isinstance(value, str) else value


def _as_markdown(table: Table) -> str:
    rules = ["--:" if _is_numeric(table, place) else "---" for place in range(len(table.heads))]
    lines = [
        f"# {_marked(table.title)}",
        "",
        _line([_marked(head) for head in table.heads]),
        _line(rules),
        *(_line([_marked(_word(value)) for value in row]) for row in table.rows),
    ]
    if table.more:
        lines += ["", f"More rows: <{table.more}>"]
    return "\n".join(lines) + "\n"


def _as_text(table: Table) -> str:
    words = [[clean(_word(value)) for value in row] for row in table.rows]
    widths = [
        max(display_width(head), *(display_width(row[place]) for row in words), 0)
        for place, head in enumerate(table.heads)
    ]
    numeric = [_is_numeric(table, place) for place in range(len(table.heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            f"{' ' * (width - display_width(cell))}{cell}"
            if is_number
            else f"{cell}{' ' * (width - display_width(cell))}"
            for cell, width, is_number in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(padded).rstrip()

    lines = [table.title, "", line(table.heads), line(["-" * width for width in widths])]
    lines += [line(row) for row in words]
    if table.more:
        lines += ["", f"more rows: {table.more}"]
    return "\n".join(lines) + "\n"


def _is_numeric(table: Table, place: int) -> bool:
    """Whether a column has numbers alone, and some."""
    found = [row[place] for row in table.rows if row[place] is not None]
    return bool(found) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found
    )


def _word(value: Value) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:,}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(text: str) -> str:
    """A text that is no markup, whoever wrote it."""
    return "".join(f"\\{char}" if char in _MARKDOWN_SIGNS else char for char in clean(text))

"""The cells of large tables, as HTML.

A batch's page has thousands of them, and a template is ten times slower than this. All foreign
text is escaped here, as templates do.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from markupsafe import Markup


class Change(NamedTuple):
    """A change against the base: its text, and ``more`` or ``less`` if it is a cost."""

    text: str
    tone: str


NO_CHANGE = Change("", "")


class Cell(NamedTuple):
    """One cell of a comparison table."""

    value: str
    change: Change = NO_CHANGE
    is_quiet: bool = False
    is_wrong: bool = False


def counts(cells: Iterable[Cell]) -> Markup:
    """A row of counts, each with its change."""
    return Markup("".join([_count(*cell) for cell in cells]))  # noqa: S704  # escaped in parts


def _count(value: str, change: Change, is_quiet: bool, is_wrong: bool) -> str:  # noqa: FBT001
    begin = '<td class="wrong">' if is_wrong else "<td>"
    quiet = " same" if is_quiet else ""
    text, tone = change
    delta = f'<span class="delta {tone}">{escape(text)}</span>' if text else ""
    return f'{begin}<span class="value{quiet}">{escape(value)}</span>{delta}</td>'


def picked(places: Iterable[int], contents: Sequence[Markup]) -> Markup:
    """A row of cells with few distinct contents: for each cell the index of its content."""
    # The format has escaped them; joined as str, because Markup.join would escape each again.
    cells = [str(Markup("<td>{}</td>").format(content)) for content in contents]
    return Markup("".join([cells[place] for place in places]))  # noqa: S704  # escaped before

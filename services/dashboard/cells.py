"""The cells of large tables, as HTML.

A batch's page has thousands of them, and a template is ten times slower than this. All foreign
text is escaped here, as templates do.
"""

import hashlib
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from markupsafe import Markup

from services.dashboard.verdicts import Shown

ROW_VERSION_LENGTH = 6


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


class Noted(NamedTuple):
    """The mark of a cell's notes: ``2 notes``, and where they are."""

    text: str
    href: str


class Heat(NamedTuple):
    """One cell of the matrix of verdicts; ``number`` may be empty."""

    verdict: Shown
    number: str
    tone: str
    href: str
    note: Noted | None = None


def counts(cells: Iterable[Cell], pinned: int = 0) -> Markup:
    """A row of counts, each with its change; the first of them stay in sight."""
    return Markup(  # noqa: S704  # escaped in parts
        "".join([_count(place, pinned, *cell) for place, cell in enumerate(cells)])
    )


def heats(cells: Iterable[Heat]) -> Markup:
    """Cells of the grid of a plan."""
    return Markup("".join([_heat(*cell) for cell in cells]))  # noqa: S704  # escaped in parts


class MatrixRow(NamedTuple):
    """A row of the matrix of verdicts as HTML, and a short digest of it."""

    version: str
    html: str


def heat_row(name: str, href: str, cells: Iterable[Heat], *, is_dense: bool) -> MatrixRow:
    """A row of the matrix of verdicts: the trace, then its cells.

    In a dense one a cell is two elements, since thousands of them are laid out at once: the word of
    its verdict is its label.
    """
    one = _dense_heat if is_dense else _heat
    inner = "".join([one(*cell) for cell in cells])
    inner = f'<th scope="row"><a href="{escape(href)}">{escape(name)}</a></th>{inner}'
    version = hashlib.sha256(inner.encode()).hexdigest()[:ROW_VERSION_LENGTH]
    return MatrixRow(version, f'<tr data-row="{version}">{inner}</tr>')


def _heat(verdict: Shown, number: str, tone: str, href: str, note: Noted | None) -> str:
    number = f"<b>{escape(number)}</b>" if number else ""
    return (
        f'<td class="heat {tone}"><a href="{escape(href)}">{verdict.sign}'
        f"<span>{verdict.title}</span>{number}</a>{_mark(note)}</td>"
    )


def _dense_heat(verdict: Shown, number: str, tone: str, href: str, note: Noted | None) -> str:
    number = escape(number)
    label = f"{verdict.title} {number}".strip()
    return (
        f'<td class="heat {tone}"><a href="{escape(href)}" title="{verdict.title}" '
        f'aria-label="{label}">{verdict.sign} {number}</a>{_mark(note)}</td>'
    )


def _mark(note: Noted | None) -> str:
    if note is None:
        return ""
    return (
        f'<a class="pin" href="{escape(note.href)}" title="{note.text}">✎'
        f'<span class="unseen">{note.text}</span></a>'
    )


def _count(  # a cell's fields, unpacked once
    place: int,
    pinned: int,
    value: str,
    change: Change,
    is_quiet: bool,  # noqa: FBT001
    is_wrong: bool,  # noqa: FBT001
) -> str:
    names = [f"pin-{place}"] if place < pinned else []
    if is_wrong:
        names.append("wrong")
    begin = f'<td class="{" ".join(names)}">' if names else "<td>"
    quiet = " same" if is_quiet else ""
    text, tone = change
    delta = f'<span class="delta {tone}">{escape(text)}</span>' if text else ""
    return f'{begin}<span class="value{quiet}">{escape(value)}</span>{delta}</td>'

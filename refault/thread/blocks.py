"""What a report is made of, whatever it is written as: text, Markdown or a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Heading(NamedTuple):
    """A heading of level 2 or 3; ``anchor`` is its address in a page."""

    level: int
    text: str
    anchor: str = ""


class Para(NamedTuple):
    """A paragraph."""

    text: str


class Facts(NamedTuple):
    """Terms, and what there is to say of each."""

    rows: Sequence[tuple[str, str]]


class Table(NamedTuple):
    """A table; the first ``words`` columns are words, those after them numbers.

    Where all columns are words the last one is prose.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int


class Command(NamedTuple):
    """A command to copy, and what it shows."""

    title: str
    words: Sequence[str]


class Remark(NamedTuple):
    """What somebody said, whether the data bears it out, and why; a command that shows it."""

    who: str
    said: str
    standing: str
    is_against: bool
    text: str
    command: Command | None


class Finding(NamedTuple):
    """A check that failed: what should hold, the first place, the causes, how to see it."""

    name: str
    title: str
    where: str
    rows: Sequence[tuple[str, str]]
    commands: Sequence[Command]


Block = Heading | Para | Facts | Table | Command | Remark | Finding


class Document(NamedTuple):
    """A title and its blocks."""

    title: str
    blocks: Sequence[Block]

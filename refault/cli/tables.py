"""Plain-text tables: cut to the width of a terminal, whole in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from refault.compare import layout

#: A column of words is not cut to less, unless the terminal is narrower still.
WORD_WIDTH_MIN = 8
_LETTERS_MIN = 3
WIDTH_MIN, WIDTH_MAX = 60, 200
_GAP = "  "


def show(head: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = "") -> None:
    """Print rows under a head; columns whose name stands in ``right`` are set to the right."""
    cells = [list(head), *([layout.clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(layout.display_width, column)) for column in zip(*cells, strict=True)]
    if sys.stdout.isatty():
        widths = fitted(widths, shutil.get_terminal_size().columns)
    is_right = [name in right.split() for name in head]
    for row in cells:
        shown = (
            layout.right(cut(cell, width), width)
            if of_right
            else layout.left(cut(cell, width), width)
            for cell, width, of_right in zip(row, widths, is_right, strict=True)
        )
        print(_GAP.join(shown).rstrip())


def text_width(in_pipe: int) -> int:
    """The width of text: the terminal's, within bounds; ``in_pipe`` where there is none."""
    if not sys.stdout.isatty():
        return in_pipe
    return min(max(shutil.get_terminal_size().columns, WIDTH_MIN), WIDTH_MAX)


def reading_width(most: int) -> int:
    """The width of prose: ``most``, or the terminal's where that is narrower."""
    return min(text_width(most), most)


def fitted(widths: Sequence[int], total: int) -> list[int]:
    """The widths, the widest made narrower until all fit into ``total`` or nothing is left."""
    found = list(widths)
    for least in (WORD_WIDTH_MIN, _LETTERS_MIN):
        while sum(found) + len(_GAP) * (len(found) - 1) > total and max(found) > least:
            found[found.index(max(found))] -= 1
    return found


def cut(text: str, width: int) -> str:
    """The text in at most ``width`` columns; an ellipsis stands for what was left out."""
    if layout.display_width(text) <= width:
        return text
    while text and layout.display_width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"

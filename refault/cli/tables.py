"""Plain-text tables: cut to the width of a terminal, whole in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from refault.compare import layout

#: A column of words is never cut to less.
WORD_WIDTH_MIN = 8
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


def fitted(widths: Sequence[int], total: int) -> list[int]:
    """The widths, the widest made narrower until all fit into ``total`` or nothing is left."""
    found = list(widths)
    while sum(found) + len(_GAP) * (len(found) - 1) > total and max(found) > WORD_WIDTH_MIN:
        found[found.index(max(found))] -= 1
    return found


def cut(text: str, width: int) -> str:
    """The text in at most ``width`` columns; an ellipsis stands for what was left out."""
    if layout.display_width(text) <= width:
        return text
    while text and layout.display_width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"

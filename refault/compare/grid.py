"""A table in plain text: labels at the left, cells at the right edge of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refault.compare.layout import display_width, left, panels, right, wrap

#: The longest counter name, and then five columns that fill 72.
LABEL_WIDTH = 17
CELL_WIDTH = 10


class Table:
    """A grid of cells at the right of their columns, split into panels where it is too wide.

    ``head`` is what stands above each column, line by line. With
    ``repeats_first``, column 0 opens every panel, so that each can be read by
    itself. ``aside`` are the cells of one more column at the right, by label; the
    last head is its.
    """

    def __init__(
        self,
        head: Sequence[Sequence[str]],
        *,
        label_width: int = LABEL_WIDTH,
        repeats_first: bool = True,
        aside: Mapping[str, str] | None = None,
    ) -> None:
        self._aside = aside
        self._repeats_first = repeats_first
        self._head = head
        self._label_width = label_width
        self._rows: list[tuple[str, Sequence[str]] | None] = []

    def add(self, label: str, cells: Sequence[str]) -> None:
        """Add a row: its label, and one cell for each column."""
        beside = [] if self._aside is None else [self._aside.get(label, "-" if label else "")]
        self._rows.append((label, [*cells, *beside]))

    def add_rule(self) -> None:
        """Add a line across the table after the rows so far."""
        self._rows.append(None)

    def lines(self, width: int) -> list[str]:
        """The table in lines of at most ``width`` columns."""
        widths = self._widths()
        fixed = widths[0] + 1 if self._repeats_first else 0
        label_width = min(self._label_width, width - fixed - max(widths, default=0) - 1)
        found: list[str] = []
        for panel in panels(widths, label_width, width, repeats_first=self._repeats_first):
            if found:
                found.append("")
            found += self._panel(panel, widths, label_width)
        return found

    def _widths(self) -> list[int]:
        widths = []
        for place, labels in enumerate(self._head):
            cells = [row[1][place] for row in self._rows if row is not None]
            longest = max(map(display_width, [*labels, *cells]), default=0)
            widths.append(max(longest, CELL_WIDTH))
        return widths

    def _panel(self, panel: Sequence[int], widths: Sequence[int], label_width: int) -> list[str]:
        total = label_width + sum(widths[place] + 1 for place in panel)
        depth = max(len(self._head[place]) for place in panel)
        lines = []
        for line in range(depth):
            heads = [
                self._head[place][line] if line < len(self._head[place]) else "" for place in panel
            ]
            lines.append(self._line("", heads, [widths[place] for place in panel], label_width))
        lines.append("-" * total)
        for row in self._rows:
            if row is None:
                lines.append("-" * total)
                continue
            label, cells = row
            first, *rest = wrap(label, label_width)
            shown = [cells[place] for place in panel]
            lines += [
                self._line(first, shown, [widths[place] for place in panel], label_width),
                *rest,
            ]
        return lines

    @staticmethod
    def _line(label: str, cells: Sequence[str], widths: Sequence[int], label_width: int) -> str:
        shown = (
            f" {right(cell, cell_width)}" for cell, cell_width in zip(cells, widths, strict=True)
        )
        return left(label, label_width) + "".join(shown)

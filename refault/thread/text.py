"""The report as plain text of at most 72 columns, to be read in a mail."""

from __future__ import annotations

from collections.abc import Sequence

from refault.compare import layout
from refault.printable import printable
from refault.thread.blocks import (
    Block,
    Command,
    Document,
    Facts,
    Finding,
    Heading,
    Para,
    Remark,
    Table,
)

WIDTH = 72
_INDENT = "  "
_TERM = 12
_RULES = {2: "-"}


def to_text(document: Document, width: int = WIDTH) -> str:
    """The document, its lines at most ``width`` columns wide."""
    title = layout.wrap(document.title, width)
    lines = [*title, "=" * max(map(layout.display_width, title))]
    for block in document.blocks:
        lines += ["", *_lines(block, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _lines(block: Block, width: int) -> list[str]:  # noqa: PLR0911 - one for each kind of block
    match block:
        case Heading():
            return _heading(block, width)
        case Para():
            return layout.wrap(block.text, width)
        case Facts():
            return [line for row in block.rows for line in _fact(*row, width)]
        case Table():
            return _table(block, width)
        case Command():
            return _command(block, width)
        case Remark():
            return _remark(block, width)
        case Finding():
            return _finding(block, width)


def _heading(block: Heading, width: int) -> list[str]:
    wrapped = layout.wrap(block.text, width)
    rule = _RULES.get(block.level)
    return [*wrapped, rule * max(map(layout.display_width, wrapped))] if rule else wrapped


def _fact(term: str, text: str, width: int) -> list[str]:
    start = f"{_INDENT}{term:{_TERM}}"
    return layout.wrap(printable(text), width, first=start, indent=" " * len(start))


def _table(block: Table, width: int) -> list[str]:
    """The table; its numbers go on below, beside the same words, where they are too wide."""
    lines = layout.wrap(block.caption, width) if block.caption else []
    cells = [block.head, *block.rows]
    widths = [max(layout.display_width(row[at]) for row in cells) for at in range(len(block.head))]
    if block.words == len(block.head):
        return lines + _prose(cells, widths, width)
    words = list(range(block.words))
    label_width = len(_INDENT) + sum(widths[at] for at in words) + 2 * (block.words - 1)
    numbers = widths[block.words :]
    for place, panel in enumerate(layout.panels(numbers, label_width, width, repeats_first=False)):
        lines += [""] if place else []
        shown = [block.words + at for at in panel]
        for row in cells:
            start = "  ".join(layout.left(row[at], widths[at]) for at in words)
            rest = "".join(f" {layout.right(row[at], widths[at])}" for at in shown)
            lines.append(f"{_INDENT}{start}{rest}")
            if row is block.head:
                used = label_width - len(_INDENT) + sum(1 + widths[at] for at in shown)
                lines.append(_INDENT + "-" * used)
    return lines


def _prose(cells: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[str]:
    """Words only; the last column is wrapped."""
    lines = []
    for place, row in enumerate(cells):
        start = _INDENT + "".join(
            f"{layout.left(cell, widths[at])}  " for at, cell in enumerate(row[:-1])
        )
        lines += layout.wrap(row[-1], width, first=start, indent=" " * len(start))
        if not place:
            lines.append(_INDENT + "-" * (min(width, len(start) + widths[-1]) - len(_INDENT)))
    return lines


def _command(block: Command, width: int) -> list[str]:
    lines = layout.shell_command(block.words, width - len(_INDENT))
    # A line that goes on in column 0 is glued to the one before it, so it has no indent.
    is_cut = any(line.endswith("\\") and not line.endswith(" \\") for line in lines)
    return lines if is_cut else [_INDENT + line for line in lines]


def _remark(block: Remark, width: int) -> list[str]:
    inner = _INDENT * 2
    lines = layout.wrap(f"{block.who}:", width, first=_INDENT, indent=inner)
    lines += layout.wrap(block.said, width, first=inner, indent=inner)
    told = f"-> {block.standing.upper()}. {block.text}"
    lines += layout.wrap(printable(told), width, first=inner, indent=inner + "   ")
    if block.command is not None:
        lines += layout.wrap(f"{block.command.title}:", width, first=inner + "   ")
        deeper = inner + " "
        lines += [f"{deeper}{line}" for line in _command(block.command, width - len(deeper))]
    return lines


def _finding(block: Finding, width: int) -> list[str]:
    start = f"{block.name}  "
    lines = layout.wrap(block.title, width, first=start, indent=_INDENT * 2)
    lines += layout.wrap(block.where, width, first=_INDENT, indent=_INDENT * 2)
    for term, text in block.rows:
        told = printable(f"{term}: {text}")
        lines += layout.wrap(told, width, first=_INDENT, indent=_INDENT * 2)
    for command in block.commands:
        lines += _command(command, width)
    return lines

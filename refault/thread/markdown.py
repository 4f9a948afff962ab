"""The report as Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

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

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def to_markdown(document: Document) -> str:
    """The document; a command is a block to copy, in one line."""
    parts = [f"# {_escaped(document.title)}"]
    parts += [text for block in document.blocks if (text := _text(block))]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", printable(text))


def _text(block: Block) -> str:  # noqa: PLR0911 - one for each kind of block
    match block:
        case Heading():
            return f"{'#' * block.level} {_escaped(block.text)}"
        case Para():
            return _escaped(block.text)
        case Facts():
            return _terms(block.rows)
        case Table():
            return _table(block)
        case Command():
            return _command(block)
        case Remark():
            return _remark(block)
        case Finding():
            head = f"**{_escaped(block.name)}**: {_escaped(block.title)}. {_escaped(block.where)}."
            return "\n\n".join([head, _terms(block.rows), *map(_command, block.commands)])


def _terms(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- **{_escaped(term)}**: {_escaped(text)}" for term, text in rows)


def _table(block: Table) -> str:
    lines = [f"{_escaped(block.caption)}\n"] if block.caption else []
    lines.append(_line([_escaped(cell) for cell in block.head]))
    rules = ["---" if at < block.words else "---:" for at in range(len(block.head))]
    lines.append(_line(rules))
    lines += [_line([_escaped(cell) for cell in row]) for row in block.rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _command(block: Command) -> str:
    return f"```sh\n{shlex.join(map(printable, block.words))}\n```"


def _remark(block: Remark) -> str:
    told = (
        f"- {_escaped(block.who)}: {_escaped(block.said)}\n"
        f"  **{block.standing.upper()}**. {_escaped(block.text)}"
    )
    if block.command is None:
        return told
    return f"{told} {_escaped(block.command.title)}:\n\n{_command(block.command)}"

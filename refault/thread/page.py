"""The report as one HTML page: no script, no other file, readable on a phone."""

from __future__ import annotations

import html
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

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --bad: #b00020; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1.05rem; margin-top: 1.75rem; }
h4 { font-size: 1rem; margin-bottom: 0; font-family: ui-monospace, monospace; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
dl { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr; gap: .25rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 36rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number, th.number { text-align: right; }
pre { background: var(--soft); padding: .5rem .75rem; overflow-x: auto; }
.finding { border-left: 3px solid var(--bad); padding-left: 1rem; margin: 1rem 0; }
.remark { margin: 1rem 0; } .remark cite { font-style: normal; font-weight: 600; }
.remark blockquote { margin: .25rem 0 .25rem 1rem; }
.against, .unsound { color: var(--bad); }
""".strip()


def to_html(document: Document) -> str:
    """The document as a page that is complete by itself."""
    title = _escaped(document.title)
    sections = [block for block in document.blocks if isinstance(block, Heading) and block.anchor]
    links = "".join(
        f'<li><a href="#{_escaped(each.anchor)}">{_escaped(each.text)}</a></li>\n'
        for each in sections
    )
    body = "\n".join(_html(block) for block in document.blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{title}</h1>\n</header>\n"
        f'<nav aria-label="Sections">\n<ul>\n{links}</ul>\n</nav>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _html(block: Block) -> str:  # noqa: PLR0911 - one for each kind of block
    match block:
        case Heading():
            anchor = f' id="{_escaped(block.anchor)}"' if block.anchor else ""
            return f"<h{block.level}{anchor}>{_escaped(block.text)}</h{block.level}>"
        case Para():
            return f"<p>{_escaped(block.text)}</p>"
        case Facts():
            return _terms(block.rows)
        case Table():
            return _table(block)
        case Command():
            return _command(block)
        case Remark():
            return _remark(block)
        case Finding():
            return _finding(block)


def _terms(rows: Sequence[tuple[str, str]]) -> str:
    told = "".join(f"<dt>{_escaped(term)}</dt><dd>{_escaped(text)}</dd>\n" for term, text in rows)
    return f"<dl>\n{told}</dl>"


def _table(block: Table) -> str:
    name = block.caption or "Verdicts"
    head = "".join(
        f'<th scope="col"{_number(at, block)}>{_escaped(cell) or "form"}</th>'
        for at, cell in enumerate(_named(block))
    )
    rows = "".join(f"<tr>{_row(row, block)}</tr>\n" for row in block.rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{_escaped(name)}">\n'
        f"<table>\n<caption>{_escaped(name)}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>"
    )


def _named(block: Table) -> list[str]:
    """The names of the columns: every header cell of a page has one."""
    spare = iter(("variant", "verdict"))
    return [cell or next(spare) for cell in block.head]


def _row(row: Sequence[str], block: Table) -> str:
    cells = [f'<th scope="row">{_escaped(row[0])}</th>']
    for at, cell in enumerate(row[1:], start=1):
        kind = _number(at, block) or (' class="unsound"' if cell == "UNSOUND" else "")
        cells.append(f"<td{kind}>{_escaped(cell)}</td>")
    return "".join(cells)


def _number(at: int, block: Table) -> str:
    return ' class="number"' if at >= block.words else ""


def _command(block: Command) -> str:
    return f'<pre tabindex="0"><code>{_escaped(shlex.join(block.words))}</code></pre>'


def _remark(block: Remark) -> str:
    kind = ' class="against"' if block.is_against else ""
    shown = ""
    if block.command is not None:
        shown = f"<p>{_escaped(block.command.title)}:</p>\n{_command(block.command)}\n"
    return (
        f'<div class="remark">\n<cite>{_escaped(block.who)}</cite>\n'
        f"<blockquote>{_escaped(block.said)}</blockquote>\n"
        f"<p><strong{kind}>{_escaped(block.standing.upper())}</strong>. "
        f"{_escaped(block.text)}</p>\n"
        f"{shown}</div>"
    )


def _finding(block: Finding) -> str:
    shown = "\n".join(map(_command, block.commands))
    return (
        f'<div class="finding">\n<p><strong>{_escaped(block.name)}</strong> {_escaped(block.title)}'
        f"<br>{_escaped(block.where)}</p>\n{_terms(block.rows)}\n{shown}\n</div>"
    )

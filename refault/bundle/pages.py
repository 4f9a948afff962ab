"""The pages of a bundle: plain HTML that opens from a file, without a network and without scripts.

All foreign text is escaped here. Colours say nothing alone: each verdict is a word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from refault.bundle import layout
from refault.bundle.head import Head
from refault.compare import ComparedColumn, Comparison, JudgedTrace, Overall, Row, Verdict
from refault.compare.answers import answer
from refault.compare.interactions import Interaction
from refault.compare.layout import counted
from refault.compare.notes import PinnedNote
from refault.compare.steps import Step
from refault.compare.summary import finding_text
from refault.compare.titles import SEMANTICS, engine_word
from refault.printable import printable

STYLE = """\
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #17191e; --soft: #565b66;
  --line: #d9d6cd; --sunken: #f4f3ef; --accent: #0b5a78; --alarm: #ab1f14; --more: #9a4a00;
  --less: #07579b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #121417; --ink: #e9e7e1; --soft: #a9adb6; --line: #343a41; --sunken: #1f2328;
    --accent: #6fc3e4; --alarm: #ff8a7a; --more: #f2a65a; --less: #7cb8f2; }
}
* { box-sizing: border-box; }
body { max-width: 78rem; margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 2.5rem) 4rem;
  background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
a { color: var(--accent); text-underline-offset: 0.18em; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.6rem; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 0.88em; }
pre { padding: 0.8rem 1rem; overflow-x: auto; background: var(--sunken);
  border: 1px solid var(--line); }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; max-width: 100%; border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
caption { padding: 0.6rem 0.9rem; text-align: left; color: var(--soft); }
th, td { padding: 0.35rem 0.9rem; border-top: 1px solid var(--line); text-align: left;
  vertical-align: baseline; }
thead th { background: var(--sunken); }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.change { display: block; color: var(--soft); font-size: 0.85em; }
.verdict { padding: 0.9rem 1.2rem; border: 1px solid var(--line);
  border-left: 5px solid var(--line); }
.verdict.alarm { border-left-color: var(--alarm); }
.verdict.more { border-left-color: var(--more); }
.verdict.less { border-left-color: var(--less); }
.alarm strong, td.alarm { color: var(--alarm); font-weight: 650; }
td.more { color: var(--more); }
td.less { color: var(--less); }
.drawn img { max-width: 100%; background: #fff; }
.note { display: block; white-space: pre-wrap; }
.digest { font-family: ui-monospace, monospace; font-size: 0.84em; overflow-wrap: anywhere; }
td.digest { white-space: nowrap; }
"""

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="content-security-policy"
 content="default-src 'none'; style-src 'self' file:; img-src 'self' file:">
<title>{title}</title>
<link rel="stylesheet" href="{up}style.css">
</head>
<body>
"""
_CHECKS = """\
<p class="soft">This is a copy. <code>sha256sum -c SHA256SUMS</code> checks its files,
<code>refault bundle verify {code}.zip</code> also every result, and that the verdicts follow from
them. Made by {maker}.</p>
"""
_TAIL = "</body>\n</html>\n"
_FINDINGS_SHOWN = 20
_MINUS = "\N{MINUS SIGN}"
# A hyphen that is a sign: not in 1-3, nor in a name.
_HYPHEN = re.compile(r"(?<![\w.-])-(?=[0-9])")


class Told(NamedTuple):
    """What is said of a batch beside its verdicts."""

    steps: Sequence[Step] = ()
    pairs: Sequence[Interaction] = ()
    notes: Sequence[PinnedNote] = ()


def index_page(
    head: Head,
    traces: Sequence[JudgedTrace],
    overall: Overall,
    told: Told,
    *,
    has_whole: bool,
) -> str:
    """The first page: the verdict on the batch, what each patch does, and every cell's verdict."""
    reasons = _items(
        f"<strong>{_text(each.label)}</strong> on {_text(each.trace_name)}: {_said(each.text)}"
        for each in overall.reasons
        if each.text
    )
    more = overall.reason_count - len(overall.reasons)
    forms = ["comparison.txt", "comparison.md", "comparison.csv"] if has_whole else []
    links = " · ".join(f'<a href="{name}">{name}</a>' for name in [*forms, layout.MANIFEST])
    counts = f"{counted(len(traces), 'trace')} × {counted(len(head.columns), 'column')}"
    submitted = head.created_at[:16].replace("T", " ")
    parts = (
        _HEAD.format(title=_text(head.title), up=""),
        f"<h1>{_text(head.title)}</h1>\n",
        f'<p class="soft">Batch {_text(head.code)}, plan {_text(head.plan)}, {_text(head.state)}; ',
        f"{counts}; submitted {_text(submitted)} UTC.</p>\n",
        f'<div class="verdict {_tone(overall.status)}">',
        f"<p><strong>{_text(_sentence(overall.status))}</strong> ",
        f"(exit code {overall.exit_code})</p>{reasons}",
        f"<p>and {more:,} more</p>" if more > 0 else "",
        "</div>\n",
        f"<p>{links}</p>\n",
        _steps(head.plan, told.steps),
        _pairs(told.pairs),
        _matrix(traces),
        _notes(told.notes),
        _columns(head),
        f"<h2>The same again</h2>\n<pre>{_text(shlex.join(head.command))}</pre>\n",
        _CHECKS.format(code=_text(head.code), maker=_text(layout.maker())),
        _TAIL,
    )
    return "".join(parts)


def trace_page(
    head: Head, comparison: Comparison, notes: Sequence[PinnedNote] = (), chart: str | None = None
) -> str:
    """The page of one trace: verdicts with their reasons, every counter, findings, notes.

    ``chart`` is the name of its drawing in the bundle, None where there is none.
    """
    trace, columns = comparison.trace, comparison.columns
    counts = ((trace.event_count, "events"), (trace.operation_count, "operations"))
    facts = ", ".join(f"{number:,} {noun}" for number, noun in counts if number is not None)
    return "".join(
        [
            _HEAD.format(title=f"{_text(trace.name)}: {_text(head.title)}", up="../"),
            f'<p><a href="../{layout.INDEX}">{_text(head.title)}</a></p>\n',
            f"<h1>{_text(trace.name)}</h1>\n",
            f'<p class="soft">{facts}</p>\n<p class="digest">{trace.digest}</p>\n',
            _items(_text(f"{limit}.") for limit in trace.limits),
            _verdicts(columns),
            _counts("What the guest saw", comparison.semantics, columns, SEMANTICS),
            _counts("Counters", comparison.counters_as_read, columns, {}),
            _chart(trace.name, chart),
            *map(_findings, columns),
            _notes(notes),
            _TAIL,
        ]
    )


def _steps(plan: str, steps: Sequence[Step]) -> str:
    """The answer of the plan, and each of its steps; nothing of a plan without steps."""
    if not steps:
        return ""
    rows = [
        f'<tr><th scope="row">{_text(step.stage.title)}</th><td>{_text(step.stage.now.label)}</td>'
        f"<td>{_text(step.stage.before.label)}</td>"
        f'<td class="{_tone(step.verdict)}">{_text(step.verdict.title)}</td>'
        f"<td>{_text(step.merge)}</td><td>{_said(step.sentence)}</td></tr>\n"
        for step in steps
    ]
    told = answer(plan, steps)
    names = ["Patch", "Column", "Without it", "Verdict", "Merge", "What it does"]
    table = _table("steps", "What each patch does", names, rows)
    return (f"<p><strong>{_said(told)}</strong></p>\n" if told else "") + table


def _pairs(pairs: Sequence[Interaction]) -> str:
    told = _items(f"{_said(each.sentence)}." for each in pairs if each.is_notable)
    return f"<h2>Two patches together</h2>\n{told}\n" if told else ""


def _matrix(traces: Sequence[JudgedTrace]) -> str:
    labels = traces[0].labels if traces else []
    rows = []
    for number, trace in enumerate(traces, 1):
        cells = "".join(
            f'<td class="{_tone(verdict)}">{_text(verdict.title)}</td>'
            for verdict, *_ in trace.judgements
        )
        link = f'<a href="{layout.page_of(number)}">{_text(trace.name)}</a>'
        rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>\n')
    return _table("verdicts", "Every verdict", ["Trace", *labels], rows)


def _columns(head: Head) -> str:
    rows = [
        f'<tr><th scope="row">{_text(column.label)}</th><td>{_text(column.variant_name)}</td>'
        f"<td>{_text(engine_word(column.engine))}</td>"
        f"<td>{_text(column.golden_name or '–')}</td>"
        f"<td><code>{_text(column.text)}</code></td>"
        f'<td class="digest">{column.variant_digest[:12]}</td></tr>\n'
        for column in head.columns
    ]
    names = ["Column", "Variant", "Engine", "Real code", "refault replay -v", "Digest"]
    return _table("columns", "The columns", names, rows)


def _verdicts(columns: Sequence[ComparedColumn]) -> str:
    rows = [
        f'<tr><th scope="row">{_text(column.label)}</th>'
        f'<td class="{_tone(column.verdict)}">{_text(column.verdict.title)}</td>'
        f"<td>{_said(column.reason)}</td>"
        f'<td class="digest">{(column.result_digest or "–")[:12]}</td></tr>\n'
        for column in columns
    ]
    return _table("reasons", "Verdicts", ["Column", "Verdict", "Why", "Result"], rows)


def _counts(
    title: str, rows: Sequence[Row], columns: Sequence[ComparedColumn], names: dict[str, str]
) -> str:
    lines = []
    for row in rows:
        cells = zip(row.values, row.deltas, row.percents, strict=True)
        shown = "".join(
            f'<td class="number">{_number(value)}{_change(delta, percent)}</td>'
            for value, delta, percent in cells
        )
        name = _text(names.get(row.name, row.name))
        lines.append(f'<tr><th scope="row">{name}</th>{shown}</tr>\n')
    heads = ["", *(column.label for column in columns)]
    return _table(title.split(maxsplit=1)[0].lower(), title, heads, lines)


def _findings(column: ComparedColumn) -> str:
    result = column.result
    if result is None or not result.findings:
        return ""
    found = result.findings[:_FINDINGS_SHOWN]
    shown = _items(f"{_text(each.kind)} at {_text(finding_text(each))}" for each in found)
    count = f"{len(found)} of {result.finding_count:,}"
    return f"<h2>Findings under {_text(column.label)} ({count} shown)</h2>\n{shown}\n"


def _chart(trace: str, name: str | None) -> str:
    if name is None:
        return ""
    alt = f"Chart of the counters of {trace} that change against the base; the table has them too."
    return f'<p class="drawn"><img src="../{name}" alt="{_text(alt)}"></p>\n'


def _notes(notes: Sequence[PinnedNote]) -> str:
    if not notes:
        return ""
    told = _items(
        f'<strong>{_text(note.head)}</strong><span class="note">'
        f"{escape(printable(note.text, lines=True))}</span>"
        for note in notes
    )
    return f"<h2>Notes</h2>\n{told}\n"


def _table(name: str, title: str, heads: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    return (
        f'<h2 id="{name}">{_text(title)}</h2>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">\n<table>\n'
        f"<caption>{_text(title)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        f"{''.join(rows)}</tbody>\n</table>\n</div>\n"
    )


def _items(entries: Iterable[str]) -> str:
    shown = "".join(f"<li>{entry}</li>" for entry in entries)
    return f"<ul>{shown}</ul>" if shown else ""


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}".replace("-", _MINUS)


def _change(delta: int | None, percent: str | None) -> str:
    if not delta:
        return ""
    text = f"{delta:+,}" + (f" ({percent})" if percent else "")
    return f' <span class="change">{text.replace("-", _MINUS)}</span>'


def _sentence(verdict: Verdict) -> str:
    title = verdict.title
    return title[:1].upper() + title[1:]


def _tone(verdict: Verdict) -> str:
    if verdict.is_alarming:
        return "alarm"
    tones = {
        Verdict.REGRESSION: "more",
        Verdict.MIXED_WORSE: "more",
        Verdict.IMPROVEMENT: "less",
        Verdict.REPAIR: "less",
    }
    return tones.get(verdict, "same")


def _text(text: str) -> str:
    return escape(printable(text))


def _said(text: str) -> str:
    """A sentence of a comparison, with the minus sign that the numbers have."""
    return _text(_HYPHEN.sub(_MINUS, text))

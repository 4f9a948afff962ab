"""A comparison as plain text to paste under a patch: at most 72 columns, nothing but text.

::

    title
    columns: what each is, and the digest of its machine
    verdicts over all traces                           (two traces or more)
    for each trace
        verdict of each column, then what the guest saw, then the counters that differ
        why each verdict, and the first finding of each column
        what audits found                              (where there are any)
    what was left out, which simulator, and the command that gives the same again
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from refault.compare import layout, titles
from refault.compare.answers import answer, steps_text
from refault.compare.audit_section import audit_text
from refault.compare.comparison import ComparedColumn, Comparison
from refault.compare.grid import LABEL_WIDTH, Table
from refault.compare.host import HEAD, aside_of, host_text
from refault.compare.interactions import Interaction, interactions_text
from refault.compare.overall import Overall
from refault.compare.rows import Row
from refault.compare.steps import Step
from refault.compare.summary import costs_summary, engines_of, findings_of, notes_of, semantics_note
from refault.compare.trace_rows import NOTHING, add_counter, add_cycles, add_semantics, outcomes
from refault.compare.verdicts import Verdict
from refault.errors import ComparisonError

LABEL_MAX = 12
DIGEST_LENGTH = 12
MARK = "*"
MARK_LEGEND = (
    f"{MARK} No real-code result exists: the real kernel code was never run with these patches, so "
    "the numbers are the model's alone."
)
_CYCLES_LEGEND = (
    "Modelled cycles are a model: counts times weights ({}). They decide only which way costs lean "
    "that rose and fell."
)


def to_text(
    comparisons: Sequence[Comparison],
    *,
    title: str,
    command: str | Sequence[str],
    width: int = 72,
    every_counter: bool = False,
    verdict: Overall | None = None,
    plan: str = "",
    steps: Sequence[Step] = (),
    interactions: Sequence[Interaction] = (),
) -> str:
    """The comparisons of several traces, with everything needed to reproduce them.

    ``command`` is what reproduces them, as words or as a shell line.
    ``every_counter`` also prints the counters that no column changes,
    ``verdict`` is stated under the title where there is one, and ``steps`` say what each patch of
    a ``plan`` does; ``interactions`` what two do together.

    Raises:
        ComparisonError: nothing to print, or a width a table cannot be set in.
    """
    if not comparisons:
        raise ComparisonError("nothing to print: compare at least one trace")
    if width < layout.WIDTH_MIN:
        raise ComparisonError(f"width {width}: a table needs at least {layout.WIDTH_MIN} columns")
    names = _Names(comparisons)
    lines = [*layout.wrap(title, width), "=" * width, ""]
    if verdict is not None:
        lines += [*layout.wrap(f"{verdict.sentence}.", width, first="Verdict: ", indent="  "), ""]
    if told := answer(plan, steps):
        lines += [*layout.wrap(told, width), ""]
    lines += _legend(names, width)
    if steps:
        lines += ["", *steps_text([step.to_dict() for step in steps], width)]
    if told_pairs := interactions_text(interactions, width):
        lines += ["", *told_pairs]
    if len(comparisons) > 1:
        lines += _overview(comparisons, names, width)
    for comparison in comparisons:
        lines += ["", *_trace(comparison, names, width, every_counter=every_counter)]
    lines += ["", *_closing(comparisons, command, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Entry(NamedTuple):
    """One line of the legend. ``spelled`` is the label where ``shown`` is a letter, or empty."""

    shown: str
    spelled: str
    variant_name: str
    variant_digest: str | None
    is_lettered: bool
    has_real_code_result: bool
    engine: str


class _Names:
    """The names of the columns: their labels, or letters for labels that are too long."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.shown: dict[tuple[str, str | None], str] = {}
        self.legend: list[_Entry] = []
        for comparison in comparisons:
            for column in comparison.columns:
                for place, label in enumerate(column.labels):
                    if (label, column.variant_digest) not in self.shown:
                        self._add(column, label, place)

    def _add(self, column: ComparedColumn, label: str, place: int) -> None:
        name = column.variant_names[min(place, len(column.variant_names) - 1)]
        text = layout.clean(label)
        # A letter for what is too long, and for a label that already means another machine.
        is_spelled = layout.display_width(text) > LABEL_MAX or text in {"", *self.shown.values()}
        letter = sum(entry.is_lettered for entry in self.legend)
        shown = f"[{_letters(letter)}]" if is_spelled else text
        self.shown[label, column.variant_digest] = shown
        self.legend.append(
            _Entry(
                shown,
                text if is_spelled and text != layout.clean(name) else "",
                name,
                column.variant_digest,
                is_lettered=is_spelled,
                has_real_code_result=column.has_real_code_result,
                engine=column.engine,
            )
        )

    def marked(self, column: ComparedColumn) -> list[str]:
        """The labels of a column, one for each line of a table's head."""
        mark = "" if column.has_real_code_result else MARK
        return [self.shown[label, column.variant_digest] + mark for label in column.labels]

    def line(self, column: ComparedColumn) -> str:
        return ", ".join(self.marked(column))


def _letters(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, place = divmod(number - 1, 26)
        letters = chr(ord("A") + place) + letters
    return letters


# --- the legend and the overview ------------------------------------------------------


def _legend(names: _Names, width: int) -> list[str]:
    """Every label: what it is in addition to an earlier one, and the digest of its machine."""
    title, tail = "Columns", "variant digest"
    lines = [title + layout.right(tail, width - len(title))]
    labels = [entry.shown for entry in names.legend]
    label_width = max(map(layout.display_width, labels)) + len(MARK) + 4
    before: list[tuple[str, str]] = []
    digests: dict[str, str] = {}
    for entry, label in zip(names.legend, labels, strict=True):
        digest = entry.variant_digest or ""
        shown = f"as {digests[digest]}" if digest in digests else digest[:DIGEST_LENGTH] or NOTHING
        if digest:
            digests.setdefault(digest, label)
        mark = "" if entry.has_real_code_result else MARK
        spelled = f"{entry.spelled}: " if entry.spelled else ""
        wrapped = layout.wrap(
            spelled + _relative(entry.variant_name, before),
            width - max(DIGEST_LENGTH, layout.display_width(shown)) - 1,
            first=layout.left(f"  {label}{mark}", label_width),
            indent=" " * label_width,
        )
        gap = width - layout.display_width(wrapped[0])
        lines += [wrapped[0] + layout.right(shown, gap), *wrapped[1:]]
        before.append((entry.variant_name, label))
    if not all(entry.has_real_code_result for entry in names.legend):
        lines += layout.wrap(MARK_LEGEND, width, first="  ", indent="    ")
    return lines + _engines(names, width)


def _engines(names: _Names, width: int) -> list[str]:
    """Which engine each column is of, where there are several."""
    found: dict[str, list[str]] = {}
    for entry in names.legend:
        found.setdefault(titles.engine_word(entry.engine), []).append(entry.shown)
    if len(found) < 2:  # noqa: PLR2004
        return []
    text = "; ".join(f"{word} {', '.join(labels)}" for word, labels in found.items())
    return layout.wrap(f"Engines: {text}.", width, first="  ", indent="    ")


def _relative(name: str, before: Sequence[tuple[str, str]]) -> str:
    """A variant's name as an addition to the longest earlier one it begins with."""
    origins = [origin for origin in before if name.startswith(f"{origin[0]} +")]
    if not origins:
        return name
    stem, label = max(origins, key=lambda origin: len(origin[0]))
    return f"{label}{name[len(stem) :]}"


def _overview(comparisons: Sequence[Comparison], names: _Names, width: int) -> list[str]:
    """Verdicts over all traces: one row a trace, one column a variant, and the worst of each."""
    rows: list[tuple[str, dict[tuple[str, ...], Verdict]]] = [
        (
            comparison.trace.name,
            {
                _head(column, names): column.verdict
                for column in comparison.columns
                if column.verdict is not Verdict.BASE
            },
        )
        for comparison in comparisons
    ]
    heads = list(dict.fromkeys(head for _, verdicts in rows for head in verdicts))
    if not heads:
        return []
    table = Table(heads, label_width=_trace_width(comparisons), repeats_first=False)
    for name, verdicts in rows:
        table.add(name, [verdicts[head].word if head in verdicts else NOTHING for head in heads])
    table.add_rule()
    worst = (
        min((verdicts[head] for _, verdicts in rows if head in verdicts), key=lambda v: v.rank)
        for head in heads
    )
    table.add("over all traces", [verdict.word for verdict in worst])
    lines = ["", "Verdicts", *table.lines(width)]
    means = costs_summary(comparisons)
    return [*lines, *([""] if means else []), *_wrapped(means, width)]


def _wrapped(sentences: Sequence[str], width: int) -> list[str]:
    return [line for text in sentences for line in layout.wrap(text, width, indent="  ")]


def _head(column: ComparedColumn, names: _Names) -> tuple[str, ...]:
    return tuple(names.marked(column))


def _trace_width(comparisons: Sequence[Comparison]) -> int:
    longest = max(layout.display_width(layout.clean(c.trace.name)) for c in comparisons)
    return min(max(longest, LABEL_WIDTH), 2 * LABEL_WIDTH)


# --- one trace ---------------------------------------------------------------------------


def _trace(comparison: Comparison, names: _Names, width: int, *, every_counter: bool) -> list[str]:
    trace = comparison.trace
    name = layout.wrap(trace.name, width - DIGEST_LENGTH - 1)
    digest = (trace.digest or "")[:DIGEST_LENGTH] or NOTHING
    lines = [
        "-" * width,
        name[0] + layout.right(digest, width - layout.display_width(name[0])),
        *name[1:],
    ]
    if trace.event_count is not None:
        lines += layout.wrap(
            f"{trace.event_count:,} events, {trace.operation_count:,} operations, "
            f"{trace.instruction_count:,} guest instructions",
            width,
        )
    heads: list[Sequence[str]] = [names.marked(column) for column in comparison.columns]
    aside = aside_of(comparison.host)
    table = Table(heads) if comparison.host is None else Table([*heads, HEAD], aside=aside)
    table.add("verdict", [column.verdict.word for column in comparison.columns])
    if comparison.base.result is not None:
        base = comparison.base
        table.add("guest's outcomes", [outcomes(column, base) for column in comparison.columns])
    add_semantics(table, comparison)
    shown = [
        row
        for row in comparison.counters_as_read
        if every_counter or not row.is_same or row.name in aside
    ]
    costs = [row for row in shown if row.name in comparison.costs]
    for group in (costs, [row for row in shown if row.name not in comparison.costs]):
        if group:
            table.add_rule()
        for row in group:
            add_counter(table, row)
        if group is costs and costs:
            add_cycles(table, comparison)
    lines += ["", *table.lines(width), *_after_table(comparison, shown, width)]
    labels = [names.line(column) for column in comparison.columns]
    return [
        *lines,
        *_explained(comparison, names, width),
        *audit_text(comparison, labels, width),
    ]


def _that_counts(comparison: Comparison) -> str:
    """A word for columns of an engine that lacks counters the others have."""
    results = [column.result for column in comparison.columns if column.result is not None]
    return " that counts them" if len({len(result.counters) for result in results}) > 1 else ""


def _after_table(comparison: Comparison, shown: Sequence[Row], width: int) -> list[str]:
    """Below the table: what was checked, and how many counters are the same."""
    lines = [""]
    note = semantics_note(comparison)
    if note:
        lines += layout.wrap(note, width)
    same = len(comparison.counters) - len(shown)
    if any(column.result is not None for column in comparison.columns):
        if len(comparison.columns) == 1:
            text = ""
        elif not shown:
            text = f"All {same} counters are the same in every column{_that_counts(comparison)}."
        elif same:
            text = (
                "Counters: the base's value, then the change against it. "
                f"{same} more are the same in every column{_that_counts(comparison)}."
            )
        else:
            text = "Counters: the base's value, then the change against it."
        lines += layout.wrap(text, width) if text else []
    if any(row.name in comparison.costs for row in shown):
        lines += layout.wrap(_CYCLES_LEGEND.format(comparison.scale.costs.to_text()), width)
    lines += host_text(comparison.host, [row.name for row in comparison.counters], width)
    return lines if len(lines) > 1 else []


def _explained(comparison: Comparison, names: _Names, width: int) -> list[str]:
    """Why each verdict, and the first finding of each column."""
    lines: list[str] = []
    told: dict[tuple[object, ...], str] = {}
    for column in comparison.columns:
        if column.verdict is Verdict.BASE and not column.reason:
            continue
        label = names.line(column)
        start = f"{label}  "
        indent = " " * min(layout.display_width(start), 10)
        key = findings_of(column)
        reason = column.reason
        findings: list[str] = []
        if key and key in told:
            reason = f"{reason}; as {told[key]}" if reason else f"as {told[key]}"
        else:
            findings = list(key)
            told.setdefault(key, label)
        title = "" if column.verdict is Verdict.BASE else column.verdict.title
        lines += layout.wrap(
            f"{': '.join(filter(None, (title, reason)))}.",
            width,
            first=start if layout.display_width(start) < width // 2 else "",
            indent=indent,
        )
        for finding in findings:
            lines += layout.wrap(finding, width, first=indent, indent=f"{indent}  ")
    return ["", *lines] if lines else []


# --- the end -------------------------------------------------------------------------------


def _closing(
    comparisons: Sequence[Comparison], command: str | Sequence[str], width: int
) -> list[str]:
    lines = ["-" * width]
    for note in notes_of(comparisons):
        lines += layout.wrap(note, width, first="Note: ", indent="  ")
    if engines := engines_of(comparisons):
        shown = ", ".join(f"{name} {digest}" for name, digest in engines)
        lines += layout.wrap(f"Engine {shown}. Reproduce with:", width)
    else:
        lines.append("Reproduce with:")
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise ComparisonError(f"command: {error} in {command!r}") from error
    return [*lines, "", *layout.shell_command(words, width)]

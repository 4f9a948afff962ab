"""The review of the thread: what was measured of every patch, put beside what was said of it.

::

    Review
      ├── traces
      ├── patches   Reviewed: claim, cells, findings, objections, forms, fate, verdict
      └── kernel    what a kernel of today does with the same traces, if one was named
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refault.audits import AuditReport, Broken, Level
from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.compare import Column, Comparison, compare
from refault.compare.audited import Failure
from refault.results import RunResult
from refault.thread.evidence import Answer, Cell, Evidence, finding_of
from refault.thread.measuring import Bench, Measured
from refault.thread.patches import TOPICS
from refault.thread.topics import Form, Objection, Setting, Topic
from refault.thread.verdicts import Judged, judged


class Found(NamedTuple):
    """One check that a form fails and its base does not, with the first place."""

    cell: Cell
    failure: Failure
    broken: Broken | None


class Answered(NamedTuple):
    """An objection, and what the data says of it."""

    objection: Objection
    answer: Answer


@dataclasses.dataclass(frozen=True)
class FormReview:
    """One form: its cells, what it breaks, and the verdict on it."""

    form: Form
    cells: tuple[Cell, ...]
    found: tuple[Found, ...]
    verdict: Judged


@dataclasses.dataclass(frozen=True)
class Reviewed:
    """One patch: all its forms, the one that was posted first."""

    topic: Topic
    forms: tuple[FormReview, ...]
    claim: Answer
    objections: tuple[Answered, ...]
    comparisons: Mapping[str, tuple[Comparison, ...]]

    @property
    def posted(self) -> FormReview:
        """The patch as posted."""
        return self.forms[0]


class OwnKernel(NamedTuple):
    """A kernel of the user's own on one trace, and the base beside it."""

    trace: str
    comparison: Comparison


@dataclasses.dataclass(frozen=True)
class Review:
    """All of it. ``kernel`` is the name of a kernel, with its runs; empty without one."""

    traces: tuple[Measured, ...]
    level: Level
    patches: tuple[Reviewed, ...]
    kernel: str
    own: tuple[OwnKernel, ...]

    @property
    def simulators(self) -> dict[str, str]:
        """The digest of each engine by its name."""
        told: dict[str, str] = {}
        for measured in self.traces:
            for result in measured.results.values():
                told.setdefault(result.engine, result.simulator_digest)
        return told


def variants_of(topics: Sequence[Topic] = TOPICS) -> dict[str, Variant]:
    """Every variant that the topics need, by what ``-v`` takes."""
    texts = [
        text for topic in topics for setting in topic.settings for text in topic.labels(setting)
    ]
    return {text: resolve(patch_set_from_text(text)) for text in dict.fromkeys(texts)}


def reviewed(
    benches: Sequence[Bench], level: Level, *, kernel: Variant | None = None, kernel_name: str = ""
) -> Review:
    """The review of the whole thread on these traces.

    Raises:
        ReplayRefused: an engine cannot replay a trace.
        TraceError: a trace is damaged.
    """
    variants = variants_of()
    wanted = [*variants.values(), *([kernel] if kernel is not None else [])]
    traces = [bench.measure(wanted) for bench in benches]
    patches = [_of_topic(topic, variants, benches, traces) for topic in TOPICS]
    own = []
    if kernel is not None:
        columns = {"base": variants["base"], f"kernel:{kernel_name}": kernel}
        own = [OwnKernel(measured.source.name, _compared(columns, measured)) for measured in traces]
    return Review(tuple(traces), level, tuple(patches), kernel_name, tuple(own))


def _of_topic(
    topic: Topic,
    variants: Mapping[str, Variant],
    benches: Sequence[Bench],
    traces: Sequence[Measured],
) -> Reviewed:
    cells: dict[tuple[str, str], list[Cell]] = {}
    comparisons: dict[str, tuple[Comparison, ...]] = {}
    for setting in topic.settings:
        columns = {text: variants[text] for text in topic.labels(setting)}
        compared = [_compared(columns, measured) for measured in traces]
        samples = [
            bench.samples(columns[setting.named(topic.base)], topic.sampled)
            if topic.sampled
            else ()
            for bench in benches
        ]
        comparisons[setting.words] = tuple(compared)
        for form in topic.all_forms:
            cells[form.text, setting.words] = [
                dataclasses.replace(
                    _cell(topic, form, setting, columns, comparison, bench, measured),
                    samples=taken,
                )
                for comparison, bench, measured, taken in zip(
                    compared, benches, traces, samples, strict=True
                )
            ]
    evidence = Evidence(topic, cells)
    forms = tuple(_of_form(form, evidence.every(form.text)) for form in topic.all_forms)
    answers = tuple(Answered(each, each.judge(evidence)) for each in topic.objections)
    return Reviewed(topic, forms, topic.claim(evidence), answers, comparisons)


def _cell(
    topic: Topic,
    form: Form,
    setting: Setting,
    columns: Mapping[str, Variant],
    comparison: Comparison,
    bench: Bench,
    measured: Measured,
) -> Cell:
    label = setting.named(form.text)
    column = next(each for each in comparison.columns if label in each.labels)
    difference = None
    if column.is_same_to_guest is False:
        difference = bench.difference(columns[setting.named(topic.base)], columns[label])
    source = measured.source
    return Cell(source.name, source.path, form, setting, comparison, column, difference)


def _compared(columns: Mapping[str, Variant], measured: Measured) -> Comparison:
    made = [
        _column(label, variant, measured.results[variant.digest], measured.audits[variant.digest])
        for label, variant in columns.items()
    ]
    return compare(made, trace_name=measured.source.name)


def _column(label: str, variant: Variant, result: RunResult, audit: AuditReport) -> Column:
    return Column(
        label=label,
        variant_name=variant.name,
        golden_name=variant.golden_name,
        result=result,
        variant_digest=variant.digest,
        engine=variant.engine,
        audit=audit,
    )


def _of_form(form: Form, cells: Sequence[Cell]) -> FormReview:
    found = [
        Found(cell, failure, finding_of(cell.column.audit, failure.check, failure.exception))
        for cell in cells
        for failure in (*cell.new_failures, *cell.known_failures)
    ]
    return FormReview(form, tuple(cells), tuple(found), judged(cells))

"""Sentences over comparisons that every form of report shares."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from refault.compare.comparison import ComparedColumn, Comparison
from refault.results import Finding

#: The counter that stands for what a guest pays: every exit interrupts it.
HEADLINE = "exits"

#: Marks, among the reasons why events were left out, what was done in another way instead.
APPLIED = "-applied-"

_TRACES_FOR_A_MEAN = 2


def finding_text(finding: Finding) -> str:
    """One finding with its places: operation, event, vCPU and address, then what happened."""
    places = [f"operation {finding.operation_index} (event {finding.event_index})"]
    if finding.vcpu is not None:
        places.append(f"vcpu {finding.vcpu}")
    if finding.gva is not None:
        places.append(f"gva {finding.gva:#x}")
    return f"{', '.join(places)}: {finding.message or finding.kind}"


def findings_of(column: ComparedColumn) -> tuple[str, ...]:
    """A summary of a column's findings: where it stopped, and the first one."""
    result = column.result
    if result is None:
        return ()
    lines = []
    if result.stopped is not None:
        lines.append(f"stopped: {finding_text(result.stopped)}")
    if result.findings and result.findings[0] != result.stopped:
        count = result.finding_count
        start = "finding" if count == 1 else f"first of {count:,} findings"
        lines.append(f"{start}: {finding_text(result.findings[0])}")
    return tuple(lines)


def semantics_note(comparison: Comparison) -> str:
    """What the accesses of the trace were checked against, and whether all of them agreed."""
    results = [column.result for column in comparison.columns if column.result is not None]
    if not results:
        return ""
    # A run that stopped on a defect has executed less than the others.
    longest = max(results, key=lambda result: result.semantics["accesses"])
    witnessed, accesses = longest.semantics["witnessed"], longest.semantics["accesses"]
    told = f"{accesses:,} {'access' if accesses == 1 else 'accesses'}"
    if witnessed == 0 and comparison.is_audited:
        return (
            f"{told}; the trace does not know what a real guest saw: "
            "the audit holds outcomes to the guest's own tables."
        )
    if witnessed == 0:
        return (
            f"{told}; the trace does not know what a real guest saw, "
            "so outcomes are compared with the base only."
        )
    checked = f"{witnessed:,} of {accesses:,} accesses checked against the real guest"
    if any(result.disagreement_count for result in results):
        return f"{checked}."
    if len(results) < len(comparison.columns):
        return f"{checked}; all agree so far."
    return f"{checked}; all agree in every column."


def costs_summary(comparisons: Sequence[Comparison]) -> list[str]:
    """For each column the geometric mean of its exits, as a ratio to the base's.

    The best and the worst trace are named. Only over traces where the column
    may be compared at all; a mean of one trace is no mean.
    """
    ratios: dict[str, list[tuple[float, str]]] = {}
    for comparison in comparisons:
        base = comparison.base.result
        for column in comparison.columns[1:]:
            result = column.result
            if result is None or base is None or column.verdict.is_alarming:
                continue
            before, now = base.counters.get(HEADLINE, 0), result.counters.get(HEADLINE, 0)
            if before > 0 and now > 0:
                ratio = now / before
                ratios.setdefault(column.label, []).append((ratio, comparison.trace.name))
    lines = []
    for label, found in ratios.items():
        if len(found) < _TRACES_FOR_A_MEAN or all(ratio == 1 for ratio, _ in found):
            continue
        mean = statistics.geometric_mean(ratio for ratio, _ in found)
        best, worst = min(found), max(found)
        lines.append(
            f"{label}: {HEADLINE} x {mean:.3f} (geometric mean of {len(found)} traces; best "
            f"{best[0]:.3f} {best[1]}, worst {worst[0]:.3f} {worst[1]})"
        )
    return lines


def notes_of(comparisons: Sequence[Comparison]) -> list[str]:
    """The caveats of the numbers.

    An older simulator, what a trace does not hold, truncated ones, events left out.
    """
    notes = list(dict.fromkeys(_stale_note(c) for c in comparisons if c.is_stale))
    names: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        names.setdefault(comparison.trace.limits, []).append(comparison.trace.name)
    notes += [f"{', '.join(of)}: {'; '.join(limits)}." for limits, of in names.items() if limits]
    for comparison in comparisons:
        if comparison.trace.is_truncated:
            notes.append(
                f"{comparison.trace.name} is truncated: replayed up to its last whole block."
            )
        skipped: dict[str, int] = {}
        for column in comparison.columns:
            if column.result is not None:
                for name, count in column.result.skipped.items():
                    skipped[name] = max(skipped.get(name, 0), count)
        answers = _answers_of(comparison)
        if answers:
            notes.append(f"{comparison.trace.name}: returned under the base: {answers}.")
        for what, is_applied in (("not replayed", False), ("replayed in another form", True)):
            listed = _listed({n: c for n, c in skipped.items() if (APPLIED in n) == is_applied})
            if listed:
                notes.append(f"{comparison.trace.name}: {what}: {listed}.")
    return notes


def engines_of(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Name and short digest of each engine that made a result of theirs."""
    found = [item for comparison in comparisons for item in comparison.simulators.items()]
    return [(name, digest[:12]) for name, digest in dict.fromkeys(found)]


def _answers_of(comparison: Comparison) -> str:
    """What register writes, notifiers and the shrinker answered; nothing if all answered 0."""
    base = comparison.columns[0].result
    return _listed(base.answers) if base is not None else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _stale_note(comparison: Comparison) -> str:
    engines = [
        f"{name} {comparison.simulators[name][:12]} (now {comparison.present[name][:12]})"
        for name in comparison.stale_engines
    ]
    return (
        f"STALE: these results are of an older version of engine {', '.join(engines)}. Submit the "
        "batch again for current ones."
    )

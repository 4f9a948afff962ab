"""The verdict on a whole batch, for CI: one status, its reasons, and an exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from refault.compare.comparison import Comparison
from refault.compare.verdicts import Judgement, Verdict

GOOD, BAD, NO_VERDICT = 0, 1, 5
"""Exit codes: nothing is worse than allowed; the answer is no; some cell has no result."""

REASONS_MAX = 20

_UNTOLD = frozenset({Verdict.BASE, Verdict.MISSING})


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """One cell behind the verdict, with the digests of its inputs."""

    verdict: Verdict
    trace_name: str
    trace_digest: str | None
    label: str
    variant_digest: str | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The reason as JSON."""
        return dataclasses.asdict(self) | {"verdict": self.verdict.value}


@dataclasses.dataclass(frozen=True, slots=True)
class Overall:
    """The verdict on a batch. ``reason_count`` counts all cells of that verdict, kept or not."""

    status: Verdict
    reasons: tuple[Reason, ...]
    reason_count: int
    exit_code: int

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {
            "status": self.status.value,
            "title": self.status.title,
            "exit_code": self.exit_code,
            "reason_count": self.reason_count,
            "reasons": [reason.to_dict() for reason in self.reasons],
        }

    @property
    def sentence(self) -> str:
        """Status, how many cells it rests on, and the first of them."""
        code = f"exit code {self.exit_code}"
        if not self.reasons:
            return f"{self.status.title} ({code})"
        first = self.reasons[0]
        more = f", and {self.reason_count - 1} more" if self.reason_count > 1 else ""
        because = f": {first.text}" if first.text else ""
        return f"{self.status.title} ({code}): {first.label} on {first.trace_name}{because}{more}"


class JudgedTrace(NamedTuple):
    """The verdicts on one trace of a batch, the base's first; all have the same columns."""

    name: str
    digest: str | None
    labels: Sequence[str]
    variant_digests: Sequence[str | None]
    judgements: Sequence[Judgement]

    def reason(self, place: int) -> Reason:
        """Why a column got its verdict."""
        verdict, text, _ = self.judgements[place]
        variant_digest = self.variant_digests[place]
        return Reason(verdict, self.name, self.digest, self.labels[place], variant_digest, text)


def overall(comparisons: Sequence[Comparison]) -> Overall:
    """The verdict over the comparisons of a batch; see :func:`overall_of`."""
    return overall_of([judged_trace(comparison) for comparison in comparisons])


def overall_of(traces: Sequence[JudgedTrace]) -> Overall:
    """The worst verdict of any cell, in the order of :class:`Verdict`.

    A base is held against nothing, but a finding in it counts like one in any
    other column: which of two different outcomes is right is not known from
    their difference alone. Audits and the real guest know it: where every other
    column repairs the base, that is the verdict. A cell without a result weighs less than one that
    is worse than allowed, but more than any that is not: nothing is called
    good before all of it is known.
    """
    cells = [
        (trace, place, verdict)
        for trace in traces
        for place, (verdict, *_) in enumerate(trace.judgements)
        if verdict is not Verdict.BASE and not (place == 0 and is_repaired(trace))
    ]
    if not cells:
        return Overall(Verdict.MISSING, (), 0, NO_VERDICT)
    status = min({verdict for _, _, verdict in cells}, key=_weight)
    told = [(trace, place) for trace, place, verdict in cells if verdict is status]
    reasons = tuple(trace.reason(place) for trace, place in told[:REASONS_MAX])
    return Overall(status, reasons, len(told), exit_code_of(status))


def is_repaired(trace: JudgedTrace) -> bool:
    """Whether every column beside the base repairs what is wrong with it, as far as is known."""
    known = {each.verdict for each in trace.judgements[1:]} - {Verdict.MISSING}
    return known == {Verdict.REPAIR} and trace.judgements[0].verdict is not Verdict.INTEGRITY


def worst_known(traces: Sequence[JudgedTrace]) -> Reason | None:
    """The first of the worst cells that have a result and are held against a base."""
    known = [
        (verdict, trace, place)
        for trace in traces
        for place, (verdict, *_) in enumerate(trace.judgements)
        if verdict not in _UNTOLD
    ]
    if not known:
        return None
    worst = min({verdict for verdict, _, _ in known}, key=lambda verdict: verdict.rank)
    return next(trace.reason(place) for verdict, trace, place in known if verdict is worst)


def judged_trace(comparison: Comparison) -> JudgedTrace:
    """The verdicts of one comparison."""
    columns = comparison.columns
    return JudgedTrace(
        comparison.trace.name,
        comparison.trace.digest,
        [column.label for column in columns],
        [column.variant_digest for column in columns],
        [Judgement(column.verdict, column.reason, column.balance) for column in columns],
    )


def _weight(verdict: Verdict) -> float:
    if verdict is Verdict.MISSING:
        return Verdict.MIXED_WORSE.rank + 0.5
    return verdict.rank


def exit_code_of(status: Verdict) -> int:
    """The exit code of the worst verdict there is, a missing result not among the worst."""
    if status is Verdict.MISSING:
        return NO_VERDICT
    return BAD if status.is_refused else GOOD

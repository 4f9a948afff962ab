"""What a whole batch comes to, for CI systems: one status, its reasons, and an exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from refault.compare.comparison import ComparedColumn, Comparison
from refault.compare.verdicts import Verdict

GOOD, BAD, NO_VERDICT = 0, 1, 5
"""Exit codes: nothing is worse than allowed; the answer is no; some cell has no result."""

REASONS_MAX = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """One cell that made the verdict what it is, with what leads to its inputs."""

    verdict: Verdict
    trace_name: str
    trace_digest: str | None
    label: str
    variant_digest: str | None
    text: str


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
            "reasons": [
                dataclasses.asdict(reason) | {"verdict": reason.verdict.value}
                for reason in self.reasons
            ],
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


def overall(comparisons: Sequence[Comparison]) -> Overall:
    """The worst verdict of any cell, in the order of :class:`Verdict`.

    A base is held against nothing, but a finding in it counts like one in any
    other column: which of two different outcomes is right is not known from
    their difference alone. A cell without a result weighs less than one that
    is worse than allowed, but more than any that is not: nothing is called
    good before all of it is known.
    """
    cells = list(_cells(comparisons))
    if not cells:
        return Overall(Verdict.MISSING, (), 0, NO_VERDICT)
    status = min((reason.verdict for reason in cells), key=_weight)
    told = [reason for reason in cells if reason.verdict is status]
    return Overall(status, tuple(told[:REASONS_MAX]), len(told), exit_code_of(status))


def _cells(comparisons: Sequence[Comparison]) -> Iterator[Reason]:
    for comparison in comparisons:
        for column in comparison.columns:
            if column.verdict is Verdict.BASE:
                continue
            yield _reason(comparison, column)


def _reason(comparison: Comparison, column: ComparedColumn) -> Reason:
    trace = comparison.trace
    return Reason(
        column.verdict,
        trace.name,
        trace.digest,
        column.label,
        column.variant_digest,
        column.reason,
    )


def _weight(verdict: Verdict) -> float:
    if verdict is Verdict.MISSING:
        return Verdict.REGRESSION.rank + 0.5
    return verdict.rank


def exit_code_of(status: Verdict) -> int:
    """The exit code of the worst verdict there is, a missing result not among the worst."""
    if status is Verdict.MISSING:
        return NO_VERDICT
    return BAD if status.rank <= Verdict.REGRESSION.rank else GOOD

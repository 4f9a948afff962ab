"""What a column of a comparison is worth, in one word and one sentence.

Semantics come before speed: a variant that breaks an invariant or changes
what the guest sees is judged by that alone. Counts are deterministic, so
there is nothing statistical here: a change is a change, and only its size
decides whether it is called one.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple

from refault.compare.percent import change_text, percent_text
from refault.results import RunResult

#: Counters that stand for work of the host: less is better. The others say how, not how much.
COSTS = (
    "exits",
    "mmu_pte_write",
    "mmu_cache_miss",
    "mmu_recycled",
    "synced",
    "hw_flush",
    "remote_tlb_flush",
    "reload_calls",
    "parent_marks",
)

#: States of a run that ended without a result, and are over.
BROKEN_STATES = frozenset({"crashed", "failed", "timed-out"})

_CLASS_TITLES = {
    "wrong_address": ("access reached a wrong address", "accesses reached a wrong address"),
    "missed_fault": ("fault was missed", "faults were missed"),
    "spurious_fault": ("fault was spurious", "faults were spurious"),
    "wrong_error_code": ("fault had a wrong error code", "faults had a wrong error code"),
    "other": ("access ended otherwise", "accesses ended otherwise"),
}


class Verdict(enum.Enum):
    """The verdicts, worst first; the value is the name machines use."""

    INTEGRITY = "integrity"
    BROKEN_INVARIANT = "broken-invariant"
    GUEST_VISIBLE_CHANGE = "guest-visible-change"
    CRASHED = "crashed"
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    UNCHANGED = "unchanged"
    IDENTICAL = "identical"
    MISSING = "missing"
    BASE = "base"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Verdict).index(self)

    @property
    def title(self) -> str:
        """The verdict in full, as a sentence begins."""
        return _TITLES[self][0]

    @property
    def word(self) -> str:
        """The verdict in at most ten letters; capitals where no speed may be read."""
        return _TITLES[self][1]

    @property
    def is_alarming(self) -> bool:
        """Whether the counters of the column mean nothing before this is resolved."""
        return self.rank <= Verdict.CRASHED.rank


_TITLES = {
    Verdict.INTEGRITY: ("INTEGRITY ALARM", "INTEGRITY"),
    Verdict.BROKEN_INVARIANT: ("BROKEN INVARIANT", "INVARIANT"),
    Verdict.GUEST_VISIBLE_CHANGE: ("GUEST-VISIBLE CHANGE", "GUEST SEES"),
    Verdict.CRASHED: ("CRASHED OR TIMED OUT", "CRASHED"),
    Verdict.REGRESSION: ("regression", "worse"),
    Verdict.IMPROVEMENT: ("improvement", "better"),
    Verdict.UNCHANGED: ("unchanged", "unchanged"),
    Verdict.IDENTICAL: ("identical", "identical"),
    Verdict.MISSING: ("missing", "missing"),
    Verdict.BASE: ("base", "base"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """How much one counter may worsen: a share of the base's value, or a count; one of the two."""

    permille: int | None = None
    absolute: int | None = None

    def is_passed_by(self, delta: int, base_value: int) -> bool:
        """Whether it has worsened by more than that."""
        if self.absolute is not None:
            return delta > self.absolute
        return delta * 1000 > (self.permille or 0) * abs(base_value)


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """How large a change of a cost must be to be called better or worse.

    Larger than ``permille`` of the base's value, and at least one in every
    ``operations`` operations of the trace: twice as many as one is not news.
    A counter of ``limits`` is worse by its own limit alone; how much better it
    must be to be called so, it shares with the others.
    """

    permille: int = 10
    operations: int = 10_000
    limits: Mapping[str, Limit] = dataclasses.field(default_factory=dict)

    def is_passed_by(
        self, delta: int, base_value: int, operation_count: int, name: str = ""
    ) -> bool:
        """Whether the change counts; ``name`` is the counter's, where it may have a limit."""
        if delta > 0 and name in self.limits:
            return self.limits[name].is_passed_by(delta, base_value)
        return (
            abs(delta) * 1000 > self.permille * abs(base_value)
            and abs(delta) * self.operations >= operation_count
        )


class Evidence(NamedTuple):
    """All there is to judge one column by."""

    result: RunResult | None
    state: str
    alarm: str | None
    error: str | None


def judge_base(evidence: Evidence) -> tuple[Verdict, str]:
    """The verdict on the base column: what can be said without anything to compare it to."""
    return _absolute(evidence) or (Verdict.BASE, "")


def judge(evidence: Evidence, base: RunResult | None, threshold: Threshold) -> tuple[Verdict, str]:
    """The verdict on a column, with its reason as a sentence without its full stop."""
    found = _absolute(evidence)
    result = evidence.result
    if found or result is None:
        return found or (Verdict.MISSING, "there is no result")
    if base is None:
        return Verdict.MISSING, "the base has no result that could be compared with"
    if base.stopped is not None:
        return Verdict.IMPROVEMENT, (
            f"runs to the end, where base stops at operation {base.stopped.operation_index} "
            f"({base.stopped.kind}); the counters cannot be compared"
        )
    if base.disagreement_count:
        return Verdict.IMPROVEMENT, (
            "the guest sees what the real one saw, where base is wrong in "
            f"{base.disagreement_count} accesses"
        )
    if result.outcome_digest != base.outcome_digest:
        return Verdict.GUEST_VISIBLE_CHANGE, (
            "the guest saw something else than under base; the trace does not say which is right"
        )
    return _speed(result, base, threshold)


def is_same_to_guest(result: RunResult | None, base: RunResult | None) -> bool | None:
    """Whether every outcome is the base's; None if one of them has no result."""
    if result is None or base is None:
        return None
    return result.outcome_digest == base.outcome_digest


def _absolute(evidence: Evidence) -> tuple[Verdict, str] | None:
    result, state, alarm, error = evidence
    if alarm is not None:
        return Verdict.INTEGRITY, alarm
    if result is None:
        if state in BROKEN_STATES:
            return Verdict.CRASHED, error or f"the run {state.replace('-', ' ')}"
        return Verdict.MISSING, error or f"the run is {state}"
    return _broken_invariant(result) or _guest_visible(result)


def _broken_invariant(result: RunResult) -> tuple[Verdict, str] | None:
    broken = [finding for finding in result.findings if not finding.is_guest_visible]
    if result.stopped is not None and not result.stopped.is_guest_visible:
        broken.insert(0, result.stopped)
    if not broken:
        return None
    return Verdict.BROKEN_INVARIANT, f"{broken[0].kind} at operation {broken[0].operation_index}"


def _guest_visible(result: RunResult) -> tuple[Verdict, str] | None:
    classes = [
        f"{count} {_CLASS_TITLES[name][count != 1]}"
        for name, count in result.semantics.items()
        if count and name in _CLASS_TITLES
    ]
    if classes:
        return Verdict.GUEST_VISIBLE_CHANGE, ", ".join(classes)
    seen = [finding for finding in (result.stopped, *result.findings) if finding is not None]
    if not seen:
        count = result.finding_count
        return (Verdict.GUEST_VISIBLE_CHANGE, f"{count} findings, none kept") if count else None
    return Verdict.GUEST_VISIBLE_CHANGE, f"{seen[0].kind} at operation {seen[0].operation_index}"


def _speed(result: RunResult, base: RunResult, threshold: Threshold) -> tuple[Verdict, str]:
    if result.counters == base.counters and result.page_digest == base.page_digest:
        return Verdict.IDENTICAL, "every outcome, every counter and every shadow page as under base"
    changes = {
        name: result.counters[name] - base.counters[name]
        for name in COSTS
        if threshold.is_passed_by(
            result.counters[name] - base.counters[name],
            base.counters[name],
            base.operation_count,
            name,
        )
    }

    def listed(names: list[str]) -> str:
        return ", ".join(f"{name} {_change(result, base, name)}" for name in names)

    worse = [name for name in changes if changes[name] > 0]
    better = [name for name in changes if changes[name] < 0]
    if worse:
        less = f"; but {listed(better)}" if better else ""
        return Verdict.REGRESSION, f"{listed(worse)}{less}"
    if better:
        return Verdict.IMPROVEMENT, listed(better)
    beyond = f"no cost moved by more than {_threshold_text(threshold.permille)}"
    if threshold.limits:
        beyond += " or the project's limits"
    return Verdict.UNCHANGED, f"{beyond}; the guest sees the same"


def _change(result: RunResult, base: RunResult, name: str) -> str:
    delta = result.counters[name] - base.counters[name]
    return percent_text(delta, base.counters[name]) or change_text(delta)


def _threshold_text(permille: int) -> str:
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %" if tenth else f"{whole} %"

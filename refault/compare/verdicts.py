"""The verdict on a column of a comparison, in one word and one sentence.

Semantics come before speed: a variant that breaks an invariant or changes
what the guest sees is judged by that alone. Counts are deterministic, so
there is nothing statistical here: a change is a change, and only its size
decides whether it is called one.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from refault.compare.percent import change_text, percent_text
from refault.facts import Facts
from refault.results import COUNTERS, DISAGREEMENTS, RunResult

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

#: Where an engine does not see the processor: KVM's own count of the same work.
STAND_INS = {"hw_flush": "tlb_flush"}

#: States of a run that ended without a result, and are over.
BROKEN_STATES = frozenset({"crashed", "failed", "timed-out"})

_CLASS_TITLES = {
    "wrong_address": ("access reached a wrong address", "accesses reached a wrong address"),
    "missed_fault": ("fault was missed", "faults were missed"),
    "spurious_fault": ("fault was spurious", "faults were spurious"),
    "wrong_error_code": ("fault had a wrong error code", "faults had a wrong error code"),
    "other": ("access had another outcome", "accesses had another outcome"),
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
    WITNESSED = "witnessed"
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
        """The verdict in at most ten letters; capitals where speed is meaningless."""
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
    Verdict.WITNESSED: ("as witnessed", "witnessed"),
    Verdict.MISSING: ("missing", "missing"),
    Verdict.BASE: ("base", "base"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """How much one counter may worsen: either a share of the base's value or a count."""

    permille: int | None = None
    absolute: int | None = None

    def room(self, base_value: int) -> int:
        """By how much it may exceed the base's."""
        if self.absolute is not None:
            return self.absolute
        return (self.permille or 0) * abs(base_value) // 1000


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

    def room(self, base_value: int, operation_count: int, name: str) -> tuple[int, int]:
        """How much less than the base's, and how much more, a counter may be unremarked."""
        share = self.permille * abs(base_value) // 1000
        both = max(share, (operation_count - 1) // self.operations)
        limit = self.limits.get(name)
        return both, both if limit is None else limit.room(base_value)


class Evidence(NamedTuple):
    """Everything one column is judged by."""

    facts: Facts | None
    state: str
    alarm: str | None
    error: str | None


Judgement = tuple[Verdict, str]
"""A verdict, and its reason as a sentence without its full stop."""


class _Cost(NamedTuple):
    """A cost under the base: its place among the counters, and between what it is unchanged."""

    name: str
    place: int
    base_value: int
    least: int
    most: int


class _Base(NamedTuple):
    """The base of a trace, with what follows from it computed once for all columns."""

    facts: Facts
    costs: tuple[_Cost, ...]
    unchanged: Judgement

    @classmethod
    def of(cls, facts: Facts, threshold: Threshold) -> _Base:
        """The base with these facts."""
        costs = []
        for name, place in _COST_PLACES:
            told = name
            if facts.counters[place] is None and name in STAND_INS:
                told = STAND_INS[name]
                place = COUNTERS.index(told)  # noqa: PLW2901
            value = facts.counters[place]
            if value is not None:
                # A project's limit is for the work, whoever counts it.
                less, more = threshold.room(value, facts.operation_count, name)
                costs.append(_Cost(told, place, value, value - less, value + more))
        beyond = f"no cost moved by more than {_threshold_text(threshold.permille)}"
        if threshold.limits:
            beyond += " or the project's limits"
        unchanged = Verdict.UNCHANGED, f"{beyond}; the guest sees the same"
        return cls(facts, tuple(costs), unchanged)


def costs_among(counted: Collection[str]) -> tuple[str, ...]:
    """The costs of a base that counts these."""
    return tuple(
        STAND_INS[name] if name in STAND_INS and name not in counted else name for name in COSTS
    )


def judge(columns: Sequence[Evidence], threshold: Threshold) -> list[Judgement]:
    """The verdict on each column of one trace; the first column is the base."""
    first, *others = columns
    # An alarm says that the base's numbers may be wrong: nothing is held against them.
    facts = first.facts if first.alarm is None else None
    base = None if facts is None else _Base.of(facts, threshold)
    return [
        _absolute(first) or (Verdict.BASE, ""),
        *(_held_against(each, base) for each in others),
    ]


def _held_against(evidence: Evidence, base: _Base | None) -> Judgement:
    found = _absolute(evidence)
    facts = evidence.facts
    if found or facts is None:
        return found or (Verdict.MISSING, "there is no result")
    if base is None:
        return Verdict.MISSING, "the base has no result to compare with"
    return _of_two(facts, base)


def _of_two(facts: Facts, against: _Base) -> Judgement:
    """The verdict on a sound result, compared with the base's."""
    base = against.facts
    if facts.engine != base.engine:
        return Verdict.WITNESSED, _beside_another_engine(facts, base)
    if base.stopped is not None:
        return Verdict.IMPROVEMENT, (
            f"runs to the end, where base stops at operation {base.stopped.operation_index} "
            f"({base.stopped.kind}); the counters cannot be compared"
        )
    if any(base.disagreements):
        return Verdict.IMPROVEMENT, (
            "the guest sees what the real one saw, where base is wrong in "
            f"{sum(base.disagreements)} accesses"
        )
    if facts.outcome_digest != base.outcome_digest:
        return Verdict.GUEST_VISIBLE_CHANGE, (
            "the guest or the host saw something else than under base; the trace does not say "
            "which is right"
        )
    return _speed(facts, against)


def _beside_another_engine(facts: Facts, base: Facts) -> str:
    """Equal outcomes are equal under any engine; others may be those of a host that one lacks."""
    if facts.outcome_digest == base.outcome_digest:
        return f"every outcome equals the base's, computed by engine {facts.engine}"
    return (
        f"nothing contradicts the real guest; engine {facts.engine} is not engine {base.engine}, "
        "so other outcomes and counters are not compared"
    )


def is_same_to_guest(result: RunResult | None, base: RunResult | None) -> bool | None:
    """Whether every outcome is the base's; None if one has no result.

    None too if they differ under another engine: they may be answers to a host that one lacks.
    """
    if result is None or base is None:
        return None
    is_same = result.outcome_digest == base.outcome_digest
    return None if not is_same and result.engine != base.engine else is_same


def _absolute(evidence: Evidence) -> Judgement | None:
    """The verdict that a column has without a base, if any."""
    facts, state, alarm, error = evidence
    if alarm is not None:
        return Verdict.INTEGRITY, alarm
    if facts is None:
        if state in BROKEN_STATES:
            return Verdict.CRASHED, error or f"the run {state.replace('-', ' ')}"
        return Verdict.MISSING, error or f"the run is {state}"
    return _broken_invariant(facts) or _guest_visible(facts)


def _broken_invariant(facts: Facts) -> Judgement | None:
    stopped = facts.stopped
    broken = facts.broken if stopped is None or stopped.is_guest_visible else stopped
    if broken is None:
        return None
    return Verdict.BROKEN_INVARIANT, f"{broken.kind} at operation {broken.operation_index}"


def _guest_visible(facts: Facts) -> Judgement | None:
    if any(facts.disagreements):
        classes = [
            f"{count} {_CLASS_TITLES[name][count != 1]}"
            for name, count in zip(DISAGREEMENTS, facts.disagreements, strict=True)
            if count
        ]
        return Verdict.GUEST_VISIBLE_CHANGE, ", ".join(classes)
    seen = facts.stopped or facts.seen
    if seen is None:
        count = facts.finding_count
        return (Verdict.GUEST_VISIBLE_CHANGE, f"{count} findings, none kept") if count else None
    return Verdict.GUEST_VISIBLE_CHANGE, f"{seen.kind} at operation {seen.operation_index}"


def _speed(facts: Facts, against: _Base) -> Judgement:
    base, counters = against.facts, facts.counters
    if counters == base.counters and facts.page_digest == base.page_digest:
        return Verdict.IDENTICAL, "every outcome, every counter and every shadow page as under base"
    worse: list[str] = []
    better: list[str] = []
    for name, place, value, least, most in against.costs:
        now = counters[place]
        if now is None or least <= now <= most:
            continue
        delta = now - value
        told = f"{name} {percent_text(delta, value) or change_text(delta)}"
        (worse if delta > 0 else better).append(told)
    if worse:
        less = f"; but {', '.join(better)}" if better else ""
        return Verdict.REGRESSION, f"{', '.join(worse)}{less}"
    if better:
        return Verdict.IMPROVEMENT, ", ".join(better)
    return against.unchanged


def _threshold_text(permille: int) -> str:
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %" if tenth else f"{whole} %"


_COST_PLACES = tuple((name, COUNTERS.index(name)) for name in COSTS)

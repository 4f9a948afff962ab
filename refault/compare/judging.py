"""Judges the columns of a comparison: each gets a verdict, and one sentence that says why.

Semantics come before speed: a variant that breaks an invariant or changes
what the guest sees is judged by that alone. Counts are deterministic, so
there is nothing statistical here: a change is a change, and only its size
decides whether it is called one.

Where base and column were audited, the audits say which of the two is right:
a column that mends what the base breaks is a repair, whatever it costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from refault.audits import AuditReport
from refault.compare.audited import LAWFUL_CHECKS, Beside, of_base, own_failures
from refault.compare.percent import change_text, percent_text
from refault.compare.verdicts import Judgement, Verdict
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
    """Everything one column is judged by; ``audit`` is None where none was made."""

    facts: Facts | None
    state: str
    alarm: str | None
    error: str | None
    audit: AuditReport | None = None


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
    audit: AuditReport | None

    @classmethod
    def of(cls, facts: Facts, threshold: Threshold, audit: AuditReport | None) -> _Base:
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
        return cls(facts, tuple(costs), unchanged, audit)


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
    base = None if facts is None else _Base.of(facts, threshold, first.audit)
    return [
        _of_base(first),
        *(_held_against(each, base) for each in others),
    ]


def _of_base(evidence: Evidence) -> Judgement:
    """The verdict on the base, which is held against nothing but its own audit."""
    found = _absolute(evidence) or (Verdict.BASE, "")
    if evidence.audit is None or evidence.facts is None:
        return found
    unknown, known = own_failures(evidence.audit)
    if not unknown:
        # A known exception of this kernel is told, and alarms nobody.
        return found[0], _joined(found[1], of_base(known) if known else "")
    is_visible = all(each.check in LAWFUL_CHECKS for each in unknown)
    verdict = Verdict.GUEST_VISIBLE_CHANGE if is_visible else Verdict.BROKEN_INVARIANT
    return _worse_of(found, (verdict, of_base([*unknown, *known])))


def _held_against(evidence: Evidence, base: _Base | None) -> Judgement:
    found = _absolute(evidence)
    facts = evidence.facts
    if facts is not None and evidence.alarm is None and base is not None:
        end = base.facts.stopped
        end_index = None if end is None else end.operation_index
        beside = Beside.of(evidence.audit, base.audit, end_index)
        if beside is not None:
            return _audited(facts, found, base, beside)
    if found or facts is None:
        return found or (Verdict.MISSING, "there is no result")
    if base is None:
        return Verdict.MISSING, "the base has no result to compare with"
    return _of_two(facts, base)


def _audited(facts: Facts, found: Judgement | None, against: _Base, beside: Beside) -> Judgement:
    """The verdict where both audits are there; ``found`` is what the column has by itself."""
    is_repair = bool(beside.repaired) and facts.stopped in {None, against.facts.stopped}
    if beside.new:
        is_visible = beside.is_guest_visible
        verdict = Verdict.GUEST_VISIBLE_CHANGE if is_visible else Verdict.BROKEN_INVARIANT
        told = _worse_of(found, (verdict, beside.broken))
        return told[0], _joined(told[1], beside.repairs if is_repair else "")
    if is_repair and _has_no_more_than(facts, against.facts):
        own = f"{found[1]}, base no less" if found else ""
        return Verdict.REPAIR, _joined(beside.repairs, own, *_beyond(facts, against, beside))
    if found:
        return found
    verdict, reason = _of_two(facts, against)
    if verdict is Verdict.GUEST_VISIBLE_CHANGE:
        reason = f"the guest or the host saw something else than under base; {beside.lawful}"
        return verdict, _joined(reason, beside.exceptions)
    return verdict, _joined(reason, beside.costs, beside.shared, beside.exceptions)


def _beyond(facts: Facts, against: _Base, beside: Beside) -> list[str]:
    """What else there is to say of a repair; its costs last."""
    base = against.facts
    if base.stopped is not None and facts.stopped is None:
        return [_of_two(facts, against)[1], beside.exceptions]
    told = []
    if any(base.disagreements):
        if not any(facts.disagreements):
            told.append(_of_two(facts, against)[1])
    elif facts.outcome_digest != base.outcome_digest:
        told += ["the guest or the host saw something else than under base", beside.lawful]
    worse, better = _moved(facts, against)
    return [*told, ", ".join([*worse, *better]), beside.costs, beside.exceptions]


def _has_no_more_than(facts: Facts, base: Facts) -> bool:
    """Whether all that is wrong with a result by itself is wrong with the base's too."""
    return (
        facts.stopped in {None, base.stopped}
        and facts.broken in {None, base.broken}
        and facts.finding_count <= base.finding_count
        and all(
            here <= there
            for here, there in zip(facts.disagreements, base.disagreements, strict=True)
        )
    )


def _worse_of(one: Judgement | None, other: Judgement) -> Judgement:
    """The worse verdict, with both reasons, its own first."""
    if one is None:
        return other
    first, second = sorted((one, other), key=lambda judgement: judgement[0].rank)
    return first[0], _joined(first[1], second[1])


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


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
    facts, state, alarm, error, _ = evidence
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
    worse, better = _moved(facts, against)
    if worse:
        less = f"; but {', '.join(better)}" if better else ""
        return Verdict.REGRESSION, f"{', '.join(worse)}{less}"
    if better:
        return Verdict.IMPROVEMENT, ", ".join(better)
    return against.unchanged


def _moved(facts: Facts, against: _Base) -> tuple[list[str], list[str]]:
    """The costs that rose notably, and those that fell, with their changes."""
    worse: list[str] = []
    better: list[str] = []
    for name, place, value, least, most in against.costs:
        now = facts.counters[place]
        if now is None or least <= now <= most:
            continue
        delta = now - value
        told = f"{name} {percent_text(delta, value) or change_text(delta)}"
        (worse if delta > 0 else better).append(told)
    return worse, better


def _threshold_text(permille: int) -> str:
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %" if tenth else f"{whole} %"


_COST_PLACES = tuple((name, COUNTERS.index(name)) for name in COSTS)

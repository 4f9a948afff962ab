"""Judges the columns of a comparison: each gets a verdict, and one sentence that says why.

Semantics come before speed: a variant that breaks an invariant or changes
what the guest sees is judged by that alone. Counts are deterministic, so
there is nothing statistical here: a change is a change, and only its size
decides whether it is called one.

A column that mends what the base breaks is a repair, whatever it costs: what
breaks is told by the real guest's accesses, by findings, and by the audits
where both were audited.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from refault.audits import AuditReport
from refault.compare.audited import LAWFUL_CHECKS, Beside, of_base, own_failures
from refault.compare.balance import Balance, Lean, Pan, Scale
from refault.compare.dirty import of_logs
from refault.compare.repairs import (
    SOMETHING_ELSE,
    are_comparable,
    defect_beside,
    has_no_more_than,
    place_text,
    repaired,
)
from refault.compare.thresholds import Threshold, costs_among, permille_text
from refault.compare.verdicts import Judgement, Verdict
from refault.facts import Facts, facts_of
from refault.results import COUNTERS, DISAGREEMENTS, RunResult

#: States of a run that ended without a result, and are over.
BROKEN_STATES = frozenset({"crashed", "failed", "timed-out"})

#: The checks whose known exceptions explain a broken invariant that a run goes on after.
_EXPLAINED_BY = {"lost-dirty-page": {"F-D1"}}

_CLASS_TITLES = {
    "wrong_address": ("access reached a wrong address", "accesses reached a wrong address"),
    "missed_fault": ("fault was missed", "faults were missed"),
    "spurious_fault": ("fault was spurious", "faults were spurious"),
    "wrong_error_code": ("fault had a wrong error code", "faults had a wrong error code"),
    "other": ("access had another outcome", "accesses had another outcome"),
}


class Evidence(NamedTuple):
    """Everything one column is judged by; ``audit`` is None where none was made."""

    facts: Facts | None
    state: str
    alarm: str | None
    error: str | None
    audit: AuditReport | None = None


class _Base(NamedTuple):
    """The base of a trace, with what follows from it computed once for all columns.

    ``is_excused``: what its run found wrong is a known exception of this kernel.
    """

    facts: Facts
    pan: Pan
    unchanged: str
    audit: AuditReport | None
    is_excused: bool

    @classmethod
    def of(
        cls, facts: Facts, threshold: Threshold, scale: Scale, audit: AuditReport | None
    ) -> _Base:
        """The base with these facts."""
        counted = {
            n for n, value in zip(COUNTERS, facts.counters, strict=True) if value is not None
        }
        beyond = f"no cost moved by more than {permille_text(threshold.permille)}"
        if threshold.limits:
            beyond += " or the project's limits"
        pan = Pan.of(facts, costs_among(counted), threshold, scale)
        unchanged = f"{beyond}; the guest sees the same"
        return cls(facts, pan, unchanged, audit, _is_excused(facts, audit))


def judge(
    columns: Sequence[Evidence], threshold: Threshold, scale: Scale | None = None
) -> list[Judgement]:
    """The verdict on each column of one trace; the first column is the base.

    ``scale`` weighs costs that rose against those that fell; None: the default weights.
    """
    first, *others = columns
    # An alarm says that the base's numbers may be wrong: nothing is held against them.
    facts = first.facts if first.alarm is None else None
    weights = Scale() if scale is None else scale
    base = None if facts is None else _Base.of(facts, threshold, weights, first.audit)
    return [
        _of_base(first),
        *(_held_against(each, base) for each in others),
    ]


def _of_base(evidence: Evidence) -> Judgement:
    """The verdict on the base, which is held against nothing but its own audit."""
    found = _absolute(evidence) or Judgement(Verdict.BASE, "")
    if evidence.audit is None or evidence.facts is None:
        return found
    unknown, known = own_failures(evidence.audit)
    if not unknown:
        # A known exception of this kernel is told, and alarms nobody.
        is_excused = evidence.alarm is None and _is_excused(evidence.facts, evidence.audit)
        verdict = Verdict.BASE if is_excused else found.verdict
        return Judgement(verdict, _joined(found.reason, of_base(known) if known else ""))
    is_visible = all(each.check in LAWFUL_CHECKS for each in unknown)
    verdict = Verdict.GUEST_VISIBLE_CHANGE if is_visible else Verdict.BROKEN_INVARIANT
    return _worse_of(found, Judgement(verdict, of_base([*unknown, *known])))


def _is_excused(facts: Facts, audit: AuditReport | None) -> bool:
    """Whether all that a base's run found wrong is a known exception of this kernel.

    Every access and every log was checked, and what no table of the guest allows, or a log lacks,
    has its exception. A kernel that broke is excused by none.
    """
    if audit is None or audit.level.startswith("sampled") or facts.stopped is not None:
        return False
    unknown, known = own_failures(audit)
    checks = {each.check for each in known}
    explaining = checks if facts.broken is None else _EXPLAINED_BY.get(facts.broken.kind, set())
    if unknown or not checks & explaining:
        return False
    is_seen = any(facts.disagreements) or facts.broken is None
    return not is_seen or bool(checks & LAWFUL_CHECKS)


def _held_against(evidence: Evidence, base: _Base | None) -> Judgement:
    found = _absolute(evidence)
    facts = evidence.facts
    if facts is None or evidence.alarm is not None:
        return found or Judgement(Verdict.MISSING, "there is no result")
    if base is None:
        return found or Judgement(Verdict.MISSING, "the base has no result to compare with")
    end = base.facts.stopped
    end_index = None if end is None else end.operation_index
    beside = Beside.of(evidence.audit, base.audit, end_index)
    if beside is not None:
        return _audited(facts, found, base, beside)
    if found:
        return found._replace(reason=_joined(found.reason, defect_beside(facts, base.facts)))
    return _of_two(facts, base)


def _audited(facts: Facts, found: Judgement | None, against: _Base, beside: Beside) -> Judgement:
    """The verdict where both audits are there; ``found`` is what the column has by itself."""
    base = against.facts
    is_repair = bool(beside.repaired) and facts.stopped in {None, base.stopped}
    if beside.new:
        is_visible = beside.is_guest_visible
        verdict = Verdict.GUEST_VISIBLE_CHANGE if is_visible else Verdict.BROKEN_INVARIANT
        told = _worse_of(found, Judgement(verdict, beside.broken))
        return Judgement(told.verdict, _joined(told.reason, beside.repairs if is_repair else ""))
    if is_repair and has_no_more_than(facts, base):
        own = f"{found.reason}, base no less" if found else ""
        reason = _joined(beside.repairs, own, *_beyond(facts, against, beside))
        return Judgement(Verdict.REPAIR, reason, _balance(facts, against))
    if found and not (against.is_excused and _is_as_wrong(facts, base)):
        return found._replace(reason=_joined(found.reason, defect_beside(facts, base)))
    told = _of_two(facts, against)
    if told.verdict is Verdict.GUEST_VISIBLE_CHANGE:
        reason = _joined(SOMETHING_ELSE, beside.lawful, beside.exceptions)
        return told._replace(reason=reason)
    more = beside.costs, beside.shared, beside.exceptions
    return told._replace(reason=_joined(told.reason, *more))


def _is_as_wrong(facts: Facts, base: Facts) -> bool:
    return has_no_more_than(facts, base) and facts.shows_the_same(base)


def _beyond(facts: Facts, against: _Base, beside: Beside) -> list[str]:
    """What else there is to say of a repair; its costs last."""
    base = against.facts
    if base.stopped is not None and facts.stopped is None:
        return [repaired(facts, base), beside.exceptions]
    told = []
    if any(base.disagreements):
        told.append(repaired(facts, base))
    elif not facts.shows_the_same(base):
        told += [SOMETHING_ELSE, beside.lawful]
    balance = _balance(facts, against)
    return [*told, balance.changes if balance else "", beside.costs, beside.exceptions]


def _worse_of(one: Judgement | None, other: Judgement) -> Judgement:
    """The worse verdict, with both reasons, its own first."""
    if one is None:
        return other
    first, second = sorted((one, other), key=lambda judgement: judgement.verdict.rank)
    return Judgement(first.verdict, _joined(first.reason, second.reason))


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _of_two(facts: Facts, against: _Base) -> Judgement:
    """The verdict on a sound result, compared with the base's."""
    base = against.facts
    if facts.engine != base.engine:
        return Judgement(Verdict.WITNESSED, _beside_another_engine(facts, base))
    if mended := repaired(facts, base):
        balance = _balance(facts, against)
        changes = balance.changes if balance else "the counters cannot be compared"
        return Judgement(Verdict.REPAIR, _joined(mended, changes), balance)
    if not facts.shows_the_same(base):
        reason = f"{SOMETHING_ELSE}; the trace does not say which is right"
        return Judgement(Verdict.GUEST_VISIBLE_CHANGE, reason)
    return of_logs(_speed(facts, against), facts, base, against.pan.threshold)


def _balance(facts: Facts, against: _Base) -> Balance | None:
    """What moved; None where one of the two has not run to where the other has."""
    is_comparable = are_comparable(facts, against.facts)
    return against.pan.balance(facts) if is_comparable else None


def _beside_another_engine(facts: Facts, base: Facts) -> str:
    """Equal outcomes are equal under any engine; others may be those of a host that one lacks."""
    if facts.outcome_digest == base.outcome_digest:
        return f"every outcome equals the base's, computed by engine {facts.engine}"
    return (
        f"nothing contradicts the real guest; engine {facts.engine} is not engine {base.engine}, "
        "so other outcomes and counters are not compared"
    )


def is_same_to_guest(result: RunResult | None, base: RunResult | None) -> bool | None:
    """Whether every outcome is the base's, but for what dirty logs hold beyond what was written.

    None if one has no result.

    None too if they differ under another engine: they may be answers to a host that one lacks.
    """
    if result is None or base is None:
        return None
    is_same = facts_of(result).shows_the_same(facts_of(base))
    return None if not is_same and result.engine != base.engine else is_same


def _absolute(evidence: Evidence) -> Judgement | None:
    """The verdict that a column has without a base, if any."""
    facts, state, alarm, error, _ = evidence
    if alarm is not None:
        return Judgement(Verdict.INTEGRITY, alarm)
    if facts is None:
        if state in BROKEN_STATES:
            return Judgement(Verdict.CRASHED, error or f"the run {state.replace('-', ' ')}")
        return Judgement(Verdict.MISSING, error or f"the run is {state}")
    return _broken_invariant(facts) or _guest_visible(facts)


def _broken_invariant(facts: Facts) -> Judgement | None:
    stopped = facts.stopped
    broken = facts.broken if stopped is None or stopped.is_guest_visible else stopped
    if broken is None:
        return None
    return Judgement(Verdict.BROKEN_INVARIANT, place_text(broken))


def _guest_visible(facts: Facts) -> Judgement | None:
    if any(facts.disagreements):
        classes = [
            f"{count:,} {_CLASS_TITLES[name][count != 1]}"
            for name, count in zip(DISAGREEMENTS, facts.disagreements, strict=True)
            if count
        ]
        return Judgement(Verdict.GUEST_VISIBLE_CHANGE, ", ".join(classes))
    seen = facts.stopped or facts.seen
    if seen is None:
        count = facts.finding_count
        told = f"{count:,} findings, none kept" if count > 1 else "1 finding, not kept"
        return Judgement(Verdict.GUEST_VISIBLE_CHANGE, told) if count else None
    return Judgement(Verdict.GUEST_VISIBLE_CHANGE, place_text(seen))


def _speed(facts: Facts, against: _Base) -> Judgement:
    base = against.facts
    is_same = facts.outcome_digest == base.outcome_digest and facts.page_digest == base.page_digest
    if is_same and facts.counters == base.counters:
        reason = "every outcome, every counter and every shadow page as under base"
        return Judgement(Verdict.IDENTICAL, reason, against.pan.balance(facts))
    balance = _balance(facts, against)
    if balance is None:
        return Judgement(Verdict.UNCHANGED, "the counters cannot be compared")
    verdict = _verdict_of(balance, has_limits=bool(against.pan.threshold.limits))
    match verdict:
        case Verdict.MIXED | Verdict.MIXED_WORSE:
            reason = _joined(balance.changes, f"{_leaning(balance)}: {balance.weighed}")
        case Verdict.UNCHANGED:
            reason = against.unchanged
        case _:
            reason = balance.changes
    return Judgement(verdict, reason, balance)


def _verdict_of(balance: Balance, *, has_limits: bool) -> Verdict:
    """Where all costs that moved agree they decide, then the weights; a limit of the project first.

    A sum that goes the other way than every cost by its own, because of what is no cost, is
    mixed too; not in a project that has limits, since it may be of rises that they allow.
    """
    is_mixed = bool(balance.rose and balance.fell)
    if not has_limits:
        is_mixed |= bool(balance.rose) and balance.is_weighed_better
        is_mixed |= bool(balance.fell) and balance.is_weighed_worse
    if any(each.limit_text for each in balance.rose) or (balance.rose and not is_mixed):
        return Verdict.REGRESSION
    if is_mixed:
        return Verdict.MIXED_WORSE if balance.is_weighed_worse else Verdict.MIXED
    return Verdict.IMPROVEMENT if balance.fell else Verdict.UNCHANGED


def _leaning(balance: Balance) -> str:
    words = {
        Lean.BETTER: "leans better",
        Lean.WORSE: "leans worse",
        Lean.NEITHER: "leans neither way",
    }
    return words[balance.lean]

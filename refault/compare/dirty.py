"""Dirty logs in a verdict: a log may hold more than what was written, and that costs.

A log that lacks a written page is a finding of the result itself, and judged by that. What is left
is how many pages a migration would send again: more than under the base is a cost.
"""

from __future__ import annotations

from refault.compare.thresholds import Threshold
from refault.compare.verdicts import Judgement, Verdict
from refault.facts import Facts

_NOTHING_ELSE = frozenset({Verdict.UNCHANGED, Verdict.IDENTICAL})


def of_logs(found: Judgement, facts: Facts, base: Facts, threshold: Threshold) -> Judgement:
    """The judgement on costs, with what the dirty logs cost where that differs."""
    if not facts.logs or not base.logs:
        return found
    told = logs_text(facts, base)
    if not told:
        return found
    now, before = facts.logged("dirty_logged"), base.logged("dirty_logged")
    verdict = found.verdict
    if threshold.is_beyond(now, before):
        is_more = now > before
        if verdict in _NOTHING_ELSE:
            verdict = Verdict.REGRESSION if is_more else Verdict.IMPROVEMENT
            return Judgement(verdict, f"{told}; nothing else changed notably", found.balance)
        against = Verdict.IMPROVEMENT if is_more else Verdict.REGRESSION
        verdict = Verdict.MIXED if verdict is against else verdict
    return Judgement(verdict, f"{found.reason}; {told}", found.balance)


def logs_text(facts: Facts, base: Facts) -> str:
    """How many pages its dirty logs held, against the base's, as a clause; empty if as many."""
    now, before = facts.logged("dirty_logged"), base.logged("dirty_logged")
    if now == before:
        return ""
    written = facts.logged("dirty_written")
    how = f"{abs(now - before):,} {'more' if now > before else 'fewer'} than base"
    pages = "page" if now == 1 else "pages"
    return f"its dirty logs hold {now:,} {pages}, {how}, where {written:,} were written"

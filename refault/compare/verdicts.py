"""The verdicts on a column of a comparison, each in one word."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from refault.compare.balance import Balance


class Verdict(enum.Enum):
    """The verdicts, worst first; the value is the name machines use."""

    INTEGRITY = "integrity"
    BROKEN_INVARIANT = "broken-invariant"
    GUEST_VISIBLE_CHANGE = "guest-visible-change"
    CRASHED = "crashed"
    REGRESSION = "regression"
    MIXED_WORSE = "mixed-worse"
    MIXED = "mixed"
    REPAIR = "repair"
    IMPROVEMENT = "improvement"
    UNCHANGED = "unchanged"
    IDENTICAL = "identical"
    WITNESSED = "witnessed"
    MISSING = "missing"
    BASE = "base"

    def __init__(self, _name: str) -> None:
        # Asked tens of thousands of times for a large batch.
        self._rank = len(type(self).__members__)

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return self._rank

    @property
    def title(self) -> str:
        """The verdict in full, as a sentence begins."""
        return _TITLES[self][0]

    @property
    def word(self) -> str:
        """The verdict in at most ten letters; capitals where speed is meaningless."""
        return _TITLES[self][1]

    @property
    def is_refused(self) -> bool:
        """Whether a batch with such a cell ends with the answer no."""
        return self.rank <= Verdict.MIXED_WORSE.rank

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
    Verdict.MIXED_WORSE: ("mixed, worse on balance", "mixed+"),
    Verdict.MIXED: ("mixed", "mixed"),
    Verdict.REPAIR: ("repair", "repair"),
    Verdict.IMPROVEMENT: ("improvement", "better"),
    Verdict.UNCHANGED: ("unchanged", "unchanged"),
    Verdict.IDENTICAL: ("identical", "identical"),
    Verdict.WITNESSED: ("as witnessed", "witnessed"),
    Verdict.MISSING: ("missing", "missing"),
    Verdict.BASE: ("base", "base"),
}

MOVES: Final = {
    Verdict.REGRESSION: "costs more",
    Verdict.MIXED_WORSE: "costs more on balance",
    Verdict.MIXED: "moves costs both ways",
    Verdict.IMPROVEMENT: "saves",
}
"""What a patch does to costs, as a verb, by the verdict on it."""


class Judgement(NamedTuple):
    """A verdict, its reason as a sentence without its full stop, and what moved, if weighed."""

    verdict: Verdict
    reason: str
    balance: Balance | None = None

"""What moved between a base and a column, and what it weighs all together.

::

    rose, fell      exact counts: the costs that moved beyond their thresholds
    before, now     modelled cycles, by the weights of the cost model (``costs.py``)

Which costs rose and which fell decides the verdict where they agree. Where they do not, the weights
say which way the sum leans: exits weigh more than marks of parents. A column that leans one way
against a base leans the other way with the two exchanged.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from refault.compare.costs import Costs, factors
from refault.compare.percent import change_text, percent_text
from refault.results import COUNTERS

if TYPE_CHECKING:
    from refault.compare.thresholds import Threshold
    from refault.facts import Facts


class Lean(enum.Enum):
    """Which way the modelled cycles go."""

    BETTER = "better"
    NEITHER = "neither"
    WORSE = "worse"


class Scale(NamedTuple):
    """By what costs are weighed.

    A guest counts as one of two vCPUs unless the weights say otherwise, so that the same runs get
    the same verdict wherever it is asked for, also where the trace is not at hand.
    """

    costs: Costs = Costs()


class Moved(NamedTuple):
    """A counter that moved. ``limit_text`` is the limit of the project that it exceeds, if any."""

    name: str
    before: int
    now: int
    limit_text: str = ""

    @property
    def percent(self) -> str | None:
        """The change in percent, as text; None from zero."""
        return percent_text(self.now - self.before, self.before)

    @property
    def text(self) -> str:
        """``exits +18.9%``, with the limit where one is exceeded."""
        told = f"{self.name} {self.percent or change_text(self.now - self.before)}"
        return f"{told} (limit {self.limit_text})" if self.limit_text else told

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON."""
        return {
            "name": self.name,
            "before": self.before,
            "now": self.now,
            "percent": self.percent,
            "is_over_limit": bool(self.limit_text),
        }


class Balance(NamedTuple):
    """A column beside its base. ``is_weighty`` says that the cycles moved beyond the threshold."""

    rose: tuple[Moved, ...]
    fell: tuple[Moved, ...]
    before: int
    now: int
    is_weighty: bool

    @property
    def lean(self) -> Lean:
        """Which way the modelled cycles go, however little."""
        if self.now == self.before:
            return Lean.NEITHER
        return Lean.WORSE if self.now > self.before else Lean.BETTER

    @property
    def is_weighed_worse(self) -> bool:
        """Whether the modelled cycles rose by more than the threshold."""
        return self.is_weighty and self.lean is Lean.WORSE

    @property
    def is_weighed_better(self) -> bool:
        """Whether the modelled cycles fell by more than the threshold."""
        return self.is_weighty and self.lean is Lean.BETTER

    @property
    def percent(self) -> str | None:
        """The change of the modelled cycles; None where nothing that has a weight was counted."""
        return percent_text(self.now - self.before, self.before)

    @property
    def weighed(self) -> str:
        """The sum as a clause: ``modelled cycles +1.7%``; empty without one."""
        return "" if self.percent is None else f"modelled cycles {self.percent}"

    @property
    def changes(self) -> str:
        """What rose, then what fell: ``exits +2.0%; but parent_marks -29.1%``."""
        rose, fell = (", ".join(each.text for each in side) for side in (self.rose, self.fell))
        return f"{rose}; but {fell}" if rose and fell else rose or fell

    def to_dict(self) -> dict[str, Any]:
        """The balance as JSON."""
        return {
            "rose": [each.to_dict() for each in self.rose],
            "fell": [each.to_dict() for each in self.fell],
            "leans": self.lean.value,
            "is_notable": self.is_weighty,
            "cycles": {"before": self.before, "now": self.now, "percent": self.percent},
        }


class Pan(NamedTuple):
    """The base of a trace as it is weighed against, computed once for all columns.

    ``costs`` are name, place among the counters, value, and between what it is unchanged;
    ``factors`` the cycles of each counter that has a weight; ``exits`` those of an exit where
    all exits are counted.
    """

    facts: Facts
    threshold: Threshold
    costs: tuple[tuple[str, int, int, int, int], ...]
    factors: tuple[tuple[int, int], ...]
    exits: int

    @classmethod
    def of(cls, facts: Facts, names: tuple[str, ...], threshold: Threshold, scale: Scale) -> Pan:
        """The base with these facts; ``names`` are its costs."""
        counted = {
            n for n, value in zip(COUNTERS, facts.counters, strict=True) if value is not None
        }
        costs = []
        for name in names:
            if name in counted:
                value = facts.counters[COUNTERS.index(name)] or 0
                room = threshold.room(value, facts.operation_count, name)
                costs.append((name, COUNTERS.index(name), value, *room))
        if facts.vm_exits is not None:
            counted.add("vm_exits")
        weights = factors(counted, scale.costs)
        exits = weights.pop("vm_exits", 0)
        places = tuple((COUNTERS.index(name), factor) for name, factor in weights.items())
        return cls(facts, threshold, tuple(costs), places, exits)

    def balance(self, facts: Facts) -> Balance:
        """A column of the same engine beside this base."""
        now = facts.counters
        rose: list[Moved] = []
        fell: list[Moved] = []
        for name, place, value, least, most in self.costs:
            here = now[place]
            if here is None or least <= here <= most:
                continue
            moved = Moved(name, value, here, self._limit_text(name) if here > most else "")
            (rose if here > value else fell).append(moved)
        # Only what both count: kernels of one's own may differ in it.
        shared = [(place, factor) for place, factor in self.factors if now[place] is not None]
        sums = [
            sum((each.counters[place] or 0) * factor for place, factor in shared)
            + (each.vm_exits or 0) * (0 if facts.vm_exits is None else self.exits)
            for each in (self.facts, facts)
        ]
        is_weighty = self.threshold.is_beyond(sums[1], sums[0])
        return Balance(tuple(rose), tuple(fell), sums[0], sums[1], is_weighty)

    def _limit_text(self, name: str) -> str:
        limit = self.threshold.limit_of(name)
        return "" if limit is None else limit.text

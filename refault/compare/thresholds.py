"""How large a change must be to count: the costs, a project's limits, and the threshold.

A change is symmetric: what moves one way between two runs moves the other way with the two
exchanged. Only a project's own limits are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

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
_WORK_OF = {stand_in: name for name, stand_in in STAND_INS.items()}


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

    @property
    def text(self) -> str:
        """The limit in words: ``2.5 %``, ``1000 more``."""
        return (
            permille_text(self.permille or 0) if self.absolute is None else f"{self.absolute} more"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """How large a change of a cost must be to be called better or worse.

    Larger than ``permille`` of the smaller of the two values, and at least one in every
    ``operations`` operations of the trace: twice as many as one is not news.
    A counter of ``limits`` is worse by its own limit alone; how much better it
    must be to be called so, it shares with the others.
    """

    permille: int = 10
    operations: int = 10_000
    limits: Mapping[str, Limit] = dataclasses.field(default_factory=dict)

    def room(self, base_value: int, operation_count: int, name: str) -> tuple[int, int]:
        """The least and the most that a counter may be, beside this base, unremarked."""
        few = (operation_count - 1) // self.operations
        share = self.permille * base_value // 1000
        # base - now <= permille * now / 1000, which is the share of the smaller value.
        least = -(-1000 * base_value // (1000 + self.permille))
        limit = self.limit_of(name)
        most = base_value + (max(share, few) if limit is None else limit.room(base_value))
        return min(least, base_value - few), most

    def limit_of(self, name: str) -> Limit | None:
        """The project's limit of a counter, or of the work that it stands in for."""
        return self.limits.get(_WORK_OF.get(name, name))

    def is_beyond(self, now: int, before: int) -> bool:
        """Whether a sum differs by more than the share of the smaller of the two."""
        return abs(now - before) * 1000 > self.permille * min(now, before)


def costs_among(counted: Collection[str]) -> tuple[str, ...]:
    """The costs of a base that counts these."""
    return tuple(
        STAND_INS[name] if name in STAND_INS and name not in counted else name for name in COSTS
    )


def permille_text(permille: int) -> str:
    """A share in percent: ``1 %``, ``0.5 %``."""
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth} %" if tenth else f"{whole} %"

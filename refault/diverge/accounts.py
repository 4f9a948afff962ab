"""Where the difference of a counter accumulates: a curve, and the operations that carry it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.diverge.counters import aligned, sampled
from refault.diverge.regions import Regions, kind_name

if TYPE_CHECKING:
    from refault.diverge.counters import Counter

CURVE_POINTS = 60
CARRIERS_SHOWN = 10
_REGION_BITS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Carrier:
    """A kind of operation in a region: how the counter changed in them, under each variant."""

    operation: str
    region: str
    first: int
    second: int

    @property
    def difference(self) -> int:
        """What it adds to the difference of the totals."""
        return self.second - self.first


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """The difference of a counter: ``curve`` has (operations, difference so far), to the end.

    ``carriers`` are empty where the counter is not kept after every operation.
    """

    counter: str
    first: int
    second: int
    curve: tuple[tuple[int, int], ...]
    carriers: tuple[Carrier, ...]
    more_carriers: int

    @property
    def difference(self) -> int:
        """Second less first, of the totals."""
        return self.second - self.first


class Tally:
    """Takes the readings of a counter, part by part; rows count from the beginning of the trace."""

    def __init__(self, mode: str, before: tuple[int, int]) -> None:
        self._regions = Regions(mode)
        self._last = before
        self._points: list[tuple[int, int]] = [(0, before[1] - before[0])]
        # By kind and region: sums under each variant, and the first row that changed otherwise.
        self._sums = np.zeros((2, 256 << _REGION_BITS), np.int64)
        self._firsts: dict[int, int] = {}

    def take(self, first: Counter, second: Counter) -> None:
        """Add a part, with the rows that change the counter."""
        if not first.rows:
            return
        keys = self._keys(first)
        np.add.at(self._sums[0], keys, first.steps)
        if not np.array_equal(first.places, second.places):
            keys = self._keys(second)
        np.add.at(self._sums[1], keys, second.steps)
        self._take_firsts(first, second)
        for place, mine, yours in zip(
            sampled(first.rows).tolist(), first.samples, second.samples, strict=True
        ):
            self._points.append((first.row + place + 1, int(yours - mine)))
        self._last = int(first.samples[-1]), int(second.samples[-1])

    def _keys(self, each: Counter) -> Any:
        return each.kind << _REGION_BITS | (self._regions.numbers(each.kind, each.a) + 1)

    def _take_firsts(self, first: Counter, second: Counter) -> None:
        """The first row of each kind and region that changes the counters differently."""
        places, steps = aligned(first, second)
        other = np.flatnonzero(steps[0] != steps[1])
        if not len(other):
            return
        keys = np.zeros(len(places), np.int64)
        for each in (first, second):
            keys[np.searchsorted(places, each.places)] = self._keys(each)
        for key, place in zip(*np.unique(keys[other], return_index=True), strict=True):
            self._firsts.setdefault(int(key), first.row + int(places[other[place]]))

    def take_totals(self, first: Any, second: Any) -> None:
        """Add a part whose counter was looked at now and then."""
        for (_, row, mine), (_, _, yours) in zip(first, second, strict=True):
            self._points.append((row, yours - mine))
            self._last = mine, yours

    def first_rows(self) -> list[int]:
        """For each kind and region whose operations changed the difference: the first, in order."""
        named: dict[tuple[str, str], int] = {}
        for key, row in self._firsts.items():
            name = self._name(key)
            named[name] = min(row, named.get(name, row))
        return sorted(named.values())

    def account(self, counter: str) -> Account:
        """What was taken so far."""
        summed: dict[tuple[str, str], list[int]] = {}
        for key in np.flatnonzero(self._sums[0] != self._sums[1]).tolist():
            sums = summed.setdefault(self._name(key), [0, 0])
            sums[0] += int(self._sums[0, key])
            sums[1] += int(self._sums[1, key])
        carriers = [Carrier(*name, *sums) for name, sums in summed.items()]
        carriers = [each for each in carriers if each.difference]
        carriers.sort(key=lambda each: (-abs(each.difference), each.operation, each.region))
        shown = tuple(carriers[:CARRIERS_SHOWN])
        more = len(carriers) - len(shown)
        return Account(counter, *self._last, self._curve(), shown, more)

    def _name(self, key: int) -> tuple[str, str]:
        region = (key & ((1 << _REGION_BITS) - 1)) - 1
        return kind_name(key >> _REGION_BITS), self._regions.name(region)

    def _curve(self) -> tuple[tuple[int, int], ...]:
        """At most ``CURVE_POINTS`` points at equal distances, the last one at the end."""
        rows = np.array([row for row, _ in self._points])
        wanted = np.linspace(0, rows[-1], min(CURVE_POINTS, len(rows)))
        places = np.unique(np.searchsorted(rows, wanted, side="left"))
        return tuple(self._points[place] for place in places.tolist())

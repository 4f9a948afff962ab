"""A counter of the model after every operation: what changes it, and where two of them part."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.catalogue import Schedule
from refault.diverge.measures import Span, stop_row
from refault.engines.base import Watch
from refault.engines.shadow.counted import counted_rows
from refault.results import COUNTERS, SHADOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.operations import Operations

#: Rows of each part after which a counter is kept for its curve.
SAMPLES = 60


class Counter(NamedTuple):
    """A part of a counter's account: the rows that change it, by how much, and what they are.

    ``before`` is the counter before the part, ``samples`` what it is after some of the rows: those
    of :func:`sampled`.
    """

    row: int
    rows: int
    before: int
    places: Any
    steps: Any
    kind: Any
    a: Any
    samples: Any


class CounterRows:
    """A counter of the model after every operation."""

    watch = Watch(rows=True)

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, host: Host, ops: Operations, count: int, row: int) -> Counter:
        """The rows of the part that change the counter; where the kernel broke none does."""
        was_stopped, done = host.stopped, host.operation_count
        before = host.counters()[self._name]
        host.execute(ops, count)
        places, values = column_of(host, self._name)
        if host.stopped and not was_stopped:
            places = np.append(places, stop_row(host, ops, count, done))
            values = np.append(values, host.counters()[self._name])
        # Few rows change a counter: only of these is anything made.
        steps = np.diff(values, prepend=before)
        changed = np.flatnonzero(steps)
        places = places[changed]
        known = np.append(before, values[changed])
        return Counter(
            row,
            count,
            before,
            places,
            steps[changed],
            np.asarray(ops.kind[:count])[places].astype(np.int64),
            np.asarray(ops.a[:count])[places].astype(np.int64),
            known[np.searchsorted(places, sampled(count), "right")],
        )

    def difference(self, first: Counter, second: Counter) -> Span | None:
        """The first row after which the counter differs."""
        places, steps = aligned(first, second)
        between = second.before - first.before + np.cumsum(steps[1] - steps[0])
        other = np.flatnonzero(between)
        if not len(other):
            return None
        row = first.row + int(places[other[0]])
        return Span(row, row + 1)


def column_of(host: Host, name: str) -> tuple[Any, Any]:
    """A counter of the model after rows executed last: the places of those rows, and its values.

    Rows that left the fast path, which changes no counter.
    """
    places, rows = counted_rows(host.notes.log)
    return places, rows[:, COUNTERS.index(name)]


@functools.cache
def sampled(count: int) -> Any:
    """The rows of a part after which a counter is kept for its curve, the last one included."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).astype(np.int64))


def aligned(first: Counter, second: Counter) -> tuple[Any, tuple[Any, Any]]:
    """The rows that change one of two counters, and by how much they change each."""
    if np.array_equal(first.places, second.places):
        return first.places, (first.steps, second.steps)
    places = np.concatenate((first.places, second.places))
    places.sort(kind="stable")  # both are in order: they are merged
    places = places[np.diff(places, prepend=-1) != 0]
    found = []
    for each in (first, second):
        steps = np.zeros(len(places), np.int64)
        steps[np.searchsorted(places, each.places)] = each.steps
        found.append(steps)
    return places, (found[0], found[1])


def has_rows(name: str, variants: Sequence[Variant]) -> bool:
    """Whether the counter is kept after every row: the model's own, without a changing limit."""
    return name in COUNTERS and all(
        variant.engine == SHADOW and not isinstance(variant.parameters.page_limit, Schedule)
        for variant in variants
    )

"""A counter of the model after every operation: what changes it, and where two of them part."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.catalogue import Schedule
from refault.diverge.measures import Span, stop_row
from refault.diverge.position import part_of
from refault.engines.base import Watch
from refault.results import COUNTERS, SHADOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.operations import Operations

#: Rows of each part after which a counter is kept for its curve.
SAMPLES = 60
#: Rows executed at a time: all counters after each of them stay in the processor's own cache.
ROWS_AT_ONCE = 2048


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
        # The value before the first row, and after each.
        column = np.empty(count + 1, np.int64)
        column[0] = before
        for at in range(0, count, ROWS_AT_ONCE):
            end = min(count, at + ROWS_AT_ONCE)
            host.execute(part_of(ops, at, end), end - at)
            column[at + 1 : end + 1] = column_of(host, self._name, end - at)
        if host.stopped:
            begun = 0 if was_stopped else stop_row(host, ops, count, done)
            column[begun + 1 :] = host.counters()[self._name]
        # Few rows change a counter: only of these is anything made.
        places = np.flatnonzero(column[1:] != column[:-1])
        return Counter(
            row,
            count,
            before,
            places,
            column[places + 1] - column[places],
            np.asarray(ops.kind[:count])[places].astype(np.int64),
            np.asarray(ops.a[:count])[places].astype(np.int64),
            column[sampled(count) + 1],
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


def column_of(host: Host, name: str, count: int) -> Any:
    """A counter after each of the ``count`` rows executed last, of a host that keeps them.

    A view, which the next execution overwrites.
    """
    every = len(COUNTERS)
    return np.asarray(host.notes.log.rows[COUNTERS.index(name) : count * every : every])


@functools.cache
def sampled(count: int) -> Any:
    """The rows of a part after which a counter is kept for its curve, the last one included."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).astype(np.int64))


def aligned(first: Counter, second: Counter) -> tuple[Any, tuple[Any, Any]]:
    """The rows that change one of two counters, and by how much they change each."""
    places = np.union1d(first.places, second.places)
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

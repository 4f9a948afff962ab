"""Each column of a comparison over all traces: the geometric mean of its exits against the base."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from refault.compare import JudgedTrace
from services.api.comparisons.moves import Moves

_TRACES_FOR_A_MEAN = 2


class Extreme(NamedTuple):
    """The trace on which a column did best, or worst, and its ratio there."""

    trace: str
    ratio: float


class Mean(NamedTuple):
    """How many times as often as the base a column exits, over the traces it can be compared on."""

    ratio: float
    trace_count: int
    best: Extreme
    worst: Extreme


def means_of(traces: Sequence[JudgedTrace], moves: Sequence[Moves]) -> list[Mean | None]:
    """The mean of each column, the base's first; None for the base and for less than two traces.

    Ratios, not percentages, are what a mean is made of. Traces with an alarm are left out.
    """
    count = len(moves[0].exits) if moves else 0
    return [_mean(traces, moves, place) if place else None for place in range(count)]


class Common(NamedTuple):
    """The columns over one and the same set of traces, so that ratios can be multiplied."""

    traces: list[str]
    ratios: list[float | None]


def common_of(traces: Sequence[JudgedTrace], moves: Sequence[Moves]) -> Common:
    """The mean ratio of each column's exits to the base's, over the traces fit for all of them.

    Those are traces without an alarm under any column. None for a column that has no result that
    may be compared with the base.
    """
    count = len(moves[0].exits) if moves else 0
    compared = [
        place
        for place in range(1, count)
        if any(numbers.changes[place] is not None for numbers in moves)
    ]
    fit = [
        (trace.name, numbers.exits)
        for trace, numbers in zip(traces, moves, strict=True)
        if numbers.exits[0]
        and all(numbers.changes[place] is not None and numbers.exits[place] for place in compared)
        and not any(judgement[0].is_alarming for judgement in trace.judgements)
    ]
    ratios: list[float | None] = [1.0 if fit else None] + [None] * (count - 1)
    for place in compared if fit else ():
        ratios[place] = statistics.geometric_mean(
            (exits[place] or 0) / (exits[0] or 1) for _, exits in fit
        )
    return Common([name for name, _ in fit], ratios)


def _mean(traces: Sequence[JudgedTrace], moves: Sequence[Moves], place: int) -> Mean | None:
    found = []
    for trace, numbers in zip(traces, moves, strict=True):
        before, now = numbers.exits[0], numbers.exits[place]
        is_compared = numbers.changes[place] is not None
        if is_compared and before and now and not trace.judgements[place][0].is_alarming:
            found.append(Extreme(trace.name, now / before))
    if len(found) < _TRACES_FOR_A_MEAN:
        return None
    ratio = statistics.geometric_mean(each.ratio for each in found)
    best, *_, worst = sorted(found, key=lambda each: each.ratio)
    return Mean(ratio, len(found), best, worst)

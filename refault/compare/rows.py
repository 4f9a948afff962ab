"""The rows of a comparison: one counter across the columns, with its changes against the base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from refault.compare.percent import percent_text
from refault.compare.thresholds import Threshold
from refault.results import ANSWERS, COUNTERS, LOGS, SHADOW, WORK, RunResult


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One counter across the columns; None where there is no result, or its engine lacks it.

    ``deltas`` are against the base, exact, None where one of the two stopped before the other;
    ``percents`` the same as text, None from a base of zero. ``notable`` says which changes are
    beyond the threshold: what is not gets no colour in any form.
    """

    name: str
    values: tuple[int | None, ...]
    deltas: tuple[int | None, ...]
    percents: tuple[str | None, ...]
    notable: tuple[bool, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether every column that has a value has the same."""
        return len({value for value in self.values if value is not None}) <= 1


def rows_of(
    names: Sequence[str], numbers: Sequence[Mapping[str, int]], is_as_far: Sequence[bool]
) -> tuple[Row, ...]:
    """The rows of these names; ``numbers`` are those of each column, the base's first."""
    rows = []
    for name in names:
        values = tuple([of_column.get(name) for of_column in numbers])
        base = values[0]
        deltas = tuple(
            [
                None if value is None or base is None or not is_far else value - base
                for value, is_far in zip(values, is_as_far, strict=True)
            ]
        )
        percents = tuple(
            [
                None if delta is None or base is None else percent_text(delta, base)
                for delta in deltas
            ]
        )
        rows.append(Row(name, values, deltas, percents, (False,) * len(values)))
    return tuple(rows)


def marked(
    rows: Sequence[Row], is_weighed: Sequence[bool], threshold: Threshold, operation_count: int
) -> tuple[Row, ...]:
    """The rows with what is notable, in columns that are held against the base (``is_weighed``)."""
    found = []
    for row in rows:
        base = row.values[0]
        if base is None or row.is_same:
            found.append(row)
            continue
        least, most = threshold.room(base, operation_count, row.name)
        notable = tuple(
            [
                is_held and value is not None and not least <= value <= most
                for is_held, value in zip(is_weighed, row.values, strict=True)
            ]
        )
        found.append(dataclasses.replace(row, notable=notable))
    return tuple(found)


def counted(results: Sequence[RunResult]) -> tuple[str, ...]:
    """The counters of any engine; answers and dirty logs only where there are any."""
    known = {name for result in results for name in result.counters}
    names = tuple(name for name in COUNTERS if name in known or not results)
    names += tuple(sorted(known.difference(COUNTERS)))
    if all(result.work for result in results if result.engine == SHADOW):
        # A kernel of one's own may count among its counters what is work to the model.
        names += tuple(
            name
            for name in WORK
            if name not in names and any(name in result.work for result in results)
        )
    if all(result.answers for result in results):
        names += tuple(name for name in ANSWERS if any(r.answers[name] for r in results))
    return names + (LOGS if any(result.logs for result in results) else ())

"""Timelines of one or more runs of a trace, brought to common slices of the guest's time.

::

    Line (label, Timeline) ─┐
    Line ───────────────────┼─► beside() ──► Beside ── to_dict() ──► JSON
    Line ───────────────────┘                 ├── csv_of()         ──► CSV
                                              └── timeline_chart() ──► Vega-Lite
                                                  (refault.compare.timeline_chart)

Samples of two runs need not stand at the same places, and there are hundreds: a page, a chart and
a table show the same few dozen slices. Every number is one that a sample had, or the difference
of two; nothing is interpolated.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Literal, get_args

from refault.compare.layout import csv_cell
from refault.errors import ComparisonError, InvalidParameter
from refault.results import GAUGES
from refault.timeline import Mark, Timeline

View = Literal["slice", "total", "difference"]
VIEWS: tuple[View, ...] = get_args(View)

SLICES = 40
SLICES_RANGE = range(4, 201)
LINES_MAX = 8
COUNTERS_MAX = 8

#: Shown unless others are asked for, those of them that the runs have.
DEFAULT_COUNTERS = ("vm_exits", "pf_fixed", "mmu_shadow_zapped", "hw_flush")

#: Numbers of what is there now, not sums of what happened.
STOCKS = GAUGES | {"list_nodes", "memory_bytes"}


@dataclasses.dataclass(frozen=True)
class Line:
    """One run: what a reader calls it, and its timeline."""

    label: str
    timeline: Timeline


@dataclasses.dataclass(frozen=True)
class Beside:
    """Runs of one trace over the same slices of the guest's time.

    ``ends`` are the places (in ``unit``, instructions or events) at which each slice ends.
    ``values[counter][line][slice]`` is what ``view`` says: ``slice``, how much was added in it (of
    what is there now: the most); ``total``, the number at its end; ``difference``, that minus the
    first line's. None: the run had ended before. ``missing`` says what a run's engine lacks.
    """

    view: View
    unit: str
    ends: tuple[int, ...]
    labels: tuple[str, ...]
    counters: tuple[str, ...]
    available: tuple[str, ...]
    values: dict[str, tuple[tuple[int | None, ...], ...]]
    marks: tuple[Mark, ...]
    mark_count: int
    missing: dict[str, str]

    def place_of(self, mark: Mark) -> int:
        """Where a mark is, in ``unit``."""
        return mark.instructions if self.unit == "instructions" else mark.events

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON."""
        body = dataclasses.asdict(self)
        body["values"] = {
            name: [list(line) for line in found] for name, found in self.values.items()
        }
        return {
            name: list(each) if isinstance(each, tuple) else each for name, each in body.items()
        }


def beside(
    lines: Sequence[Line],
    *,
    counters: Sequence[str] = (),
    view: View = "slice",
    slices: int = SLICES,
) -> Beside:
    """The runs side by side; the first is the one that differences are against.

    Raises:
        InvalidParameter: a counter, the view or a number is none that can be shown.
        ComparisonError: they are of different traces or units, or one has no counter at all.
    """
    _check(lines, view, slices)
    timelines = [line.timeline for line in lines]
    available = tuple(
        name for name in timelines[0].names if all(name in each.series for each in timelines)
    )
    chosen = _chosen(counters, available, timelines)
    end = max(each.series[each.unit][-1] for each in timelines)
    ends = tuple(dict.fromkeys(-(-end * number // slices) for number in range(1, slices + 1)))
    marks = max(timelines, key=lambda each: len(each.marks))
    return Beside(
        view=view,
        unit=timelines[0].unit,
        ends=ends,
        labels=tuple(line.label for line in lines),
        counters=chosen,
        available=available,
        values={name: _values(timelines, name, ends, view) for name in chosen},
        marks=marks.marks,
        mark_count=marks.mark_count,
        missing={name: why for each in timelines for name, why in each.missing.items()},
    )


def csv_of(found: Beside) -> str:
    """The table as CSV: a line a slice, a column a counter and run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([found.unit, *(csv_cell(f"{name} {label}") for name, label in _columns(found))])
    for place, end in enumerate(found.ends):
        row = [
            found.values[name][line][place]
            for name in found.counters
            for line in range(len(found.labels))
        ]
        writer.writerow([end, *("" if value is None else value for value in row)])
    return out.getvalue()


def _columns(found: Beside) -> list[tuple[str, str]]:
    return [(name, label) for name in found.counters for label in found.labels]


def _check(lines: Sequence[Line], view: str, slices: int) -> None:
    if view not in VIEWS:
        raise InvalidParameter(f"view {view!r}: choose one of {', '.join(VIEWS)}")
    if slices not in SLICES_RANGE:
        raise InvalidParameter(
            f"slices: {SLICES_RANGE.start} to {SLICES_RANGE.stop - 1} can be shown, not {slices}"
        )
    if not 1 <= len(lines) <= LINES_MAX:
        raise InvalidParameter(f"{len(lines)} runs: 1 to {LINES_MAX} fit into one chart")
    if view == "difference" and len(lines) == 1:
        raise InvalidParameter("view difference: name a second run to stand beside the first")
    timelines = [line.timeline for line in lines]
    if len({each.trace_digest for each in timelines}) > 1:
        raise ComparisonError("the runs are of different traces: their times are not the same")
    if len({each.unit for each in timelines}) > 1:
        raise ComparisonError("the runs' timelines count their time in different units")


def _chosen(
    counters: Sequence[str], available: Sequence[str], timelines: Sequence[Timeline]
) -> tuple[str, ...]:
    if not available:
        reasons = "; ".join(why for each in timelines for why in each.missing.values())
        raise ComparisonError(f"no counter to show: {reasons or 'the runs have none in common'}")
    for name in counters:
        if name not in available:
            raise InvalidParameter(
                f"counter {name[:60]!r} is none of these runs; there are {', '.join(available)}"
            )
    usual = [name for name in DEFAULT_COUNTERS if name in available]
    chosen = tuple(dict.fromkeys(counters or usual or available[: len(DEFAULT_COUNTERS)]))
    if len(chosen) > COUNTERS_MAX:
        raise InvalidParameter(f"{len(chosen)} counters: at most {COUNTERS_MAX} fit into one chart")
    return chosen


def _values(
    timelines: Sequence[Timeline], name: str, ends: Sequence[int], view: View
) -> tuple[tuple[int | None, ...], ...]:
    if view == "slice":
        return tuple(_by_slice(each, name, ends) for each in timelines)
    totals = [_totals(each, name, ends) for each in timelines]
    if view == "total":
        return tuple(totals)
    return tuple(
        tuple(
            None if mine is None or base is None else mine - base
            for mine, base in zip(line, totals[0], strict=True)
        )
        for line in totals
    )


def _reached(timeline: Timeline, ends: Sequence[int]) -> list[int | None]:
    """For each slice how many samples were taken up to its end; None after the run's last one."""
    places = timeline.series[timeline.unit]
    found: list[int | None] = []
    before = -1
    for end in ends:
        found.append(None if before >= places[-1] else bisect_right(places, end))
        before = end
    return found


def _totals(timeline: Timeline, name: str, ends: Sequence[int]) -> tuple[int | None, ...]:
    column = timeline.series[name]
    return tuple(
        None if count is None else (column[count - 1] if count else 0)
        for count in _reached(timeline, ends)
    )


def _by_slice(timeline: Timeline, name: str, ends: Sequence[int]) -> tuple[int | None, ...]:
    column = timeline.series[name]
    found: list[int | None] = []
    done, level = 0, 0
    for count in _reached(timeline, ends):
        if count is None:
            found.append(None)
            continue
        last = column[count - 1] if count else 0
        # What is there now may rise and fall within a slice.
        found.append(max((level, *column[done:count])) if name in STOCKS else last - level)
        done, level = count, last
    return tuple(found)

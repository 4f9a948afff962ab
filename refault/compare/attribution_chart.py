"""One view of an attribution as a chart, a Vega-Lite specification, and all views as CSV.

A column of bars for each counter, a row for each part, the count beside each bar; what found no
room is one row. The specification is a plain dict; nothing here draws.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from refault.attribution import VIEWS, Attribution, Part
from refault.compare.chart import SCHEMA
from refault.compare.layout import csv_cell
from refault.compare.timelines import DEFAULT_COUNTERS
from refault.errors import ComparisonError, InvalidParameter
from refault.printable import printable

PARTS_SHOWN = 12
COUNTERS_MAX = 6
TITLES = {
    "cause": "By cause",
    "region": "By region of the guest",
    "address_space": "By address space (CR3)",
    "mark": "By mark",
}
_CHARACTERS_MAX = 60
_BAR_WIDTH = 150
_ROW_HEIGHT = 20
_THEMES = {
    "light": {"ink": "#1f2328", "quiet": "#59636e", "bar": "#2f7f9f"},
    "dark": {"ink": "#e6edf3", "quiet": "#9da7b3", "bar": "#4f9fc0"},
}


def counters_shown(attribution: Attribution, counters: Sequence[str] = ()) -> tuple[str, ...]:
    """The counters that a view is shown with: those asked for, or the usual ones.

    Raises:
        InvalidParameter: it splits no such counter, or too many were asked for.
    """
    for name in counters:
        if name not in attribution.totals:
            raise InvalidParameter(
                f"counter {name[:60]!r} is not split; there are {', '.join(attribution.totals)}"
            )
    usual = [name for name in DEFAULT_COUNTERS if name in attribution.totals]
    chosen = tuple(dict.fromkeys(counters or usual or list(attribution.totals)[:4]))
    if len(chosen) > COUNTERS_MAX:
        raise InvalidParameter(f"{len(chosen)} counters: at most {COUNTERS_MAX} fit into one chart")
    return chosen


def parts_shown(parts: Sequence[Part], counters: Sequence[str]) -> list[Part]:
    """The parts that have any of the counters; beyond the first ones, their sum as one part."""
    some = [part for part in parts if any(part.counters.get(name) for name in counters)]
    first, rest = some[:PARTS_SHOWN], some[PARTS_SHOWN:]
    if not rest:
        return first
    sums = {name: sum(part.counters.get(name, 0) for part in rest) for name in counters}
    return [*first, Part(f"{len(rest)} more", sums)]


def attribution_chart(
    attribution: Attribution,
    view: str = VIEWS[0],
    counters: Sequence[str] = (),
    *,
    theme: Literal["light", "dark"] = "light",
) -> dict[str, Any]:
    """The specification for one view of an attribution.

    Raises:
        InvalidParameter: there is no such view, or no such counter.
        ComparisonError: the run's engine does not yield it, or nothing was counted.
    """
    if view not in VIEWS:
        raise InvalidParameter(f"view {view[:60]!r}: choose one of {', '.join(VIEWS)}")
    chosen = counters_shown(attribution, counters)
    parts = parts_shown(attribution.views.get(view, ()), chosen)
    if not parts:
        reason = "; ".join(attribution.missing.values()) or "none of these counters rose"
        raise ComparisonError(f"nothing to draw by {view}: {reason}")
    colours = _THEMES[theme]
    names = _heads(parts)
    return {
        "$schema": SCHEMA,
        "description": f"{', '.join(chosen)}: {TITLES[view].lower()}",
        "background": "transparent",
        "padding": 4,
        "config": {
            "font": "system-ui, 'DejaVu Sans', sans-serif",
            "view": {"stroke": None},
            "axis": {
                "labelColor": colours["ink"],
                "domain": False,
                "ticks": False,
                "grid": False,
                "labelFontSize": 12,
            },
            "title": {"color": colours["ink"], "fontSize": 12, "anchor": "start", "offset": 6},
        },
        "hconcat": [
            _bars(parts, names, counter, colours, is_first=place == 0)
            for place, counter in enumerate(chosen)
        ],
        "spacing": 34,
    }


def csv_of(attribution: Attribution) -> str:
    """All views as CSV: a line a view, part and counter."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["view", "part", "counter", "count"])
    for view, parts in attribution.views.items():
        for part in parts:
            for counter, count in part.counters.items():
                writer.writerow([view, csv_cell(part.name), counter, count])
    return out.getvalue()


def _heads(parts: Sequence[Part]) -> list[str]:
    """The parts' names; equal ones are told apart by invisible characters."""
    names: list[str] = []
    for part in parts:
        name = printable(part.name[:_CHARACTERS_MAX])
        while name in names:
            name += "\u200b"
        names.append(name)
    return names


def _bars(
    parts: Sequence[Part],
    names: Sequence[str],
    counter: str,
    colours: Mapping[str, str],
    *,
    is_first: bool,
) -> dict[str, Any]:
    rows = [
        {"part": name, "count": count, "text": f"{count:,}"}
        for name, part in zip(names, parts, strict=True)
        for count in (part.counters.get(counter, 0),)
    ]
    y = {
        "field": "part",
        "type": "nominal",
        "sort": None,
        "axis": {"title": None, "labelLimit": 220, "labels": is_first},
    }
    x = {"field": "count", "type": "quantitative", "axis": None}
    return {
        "title": printable(counter[:_CHARACTERS_MAX]),
        "width": _BAR_WIDTH,
        "height": {"step": _ROW_HEIGHT},
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "bar", "color": colours["bar"], "height": 12},
                "encoding": {"x": x, "y": y},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "color": colours["quiet"]},
                "encoding": {"x": x, "y": y, "text": {"field": "text", "type": "nominal"}},
            },
        ],
    }

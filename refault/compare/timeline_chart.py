"""The chart of timelines, as a Vega-Lite specification: a panel a counter, a line a run.

::

               1 the workload begins        17        18
    vm_exits   ┊  ▁▂▅▇▅▂▁                   ┊  ▁▂▁    ┊  ▂▃▂
    hw_flush   ┊  ▁▁▂▇▂▁▁                   ┊  ▁▁▁    ┊  ▁▁▁
               0        20M       40M       60M      guest instructions

Lines differ in colour and in dashes, which people who see few colours tell apart too. The
specification is a plain dict over :class:`refault.compare.timelines.Beside`; nothing here draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from refault.compare.chart import SCHEMA
from refault.compare.timelines import STOCKS, Beside, View
from refault.printable import printable

WIDTH = 760
PANEL_HEIGHT = 96
_MARKS_NAMED = 12
# More of a name or a label than a drawing has room for.
_CHARACTERS_MAX = 200
# Between two names of marks on one line.
_MARK_ROOM = 15 / WIDTH
_TITLES: dict[View, str] = {
    "slice": "per slice",
    "total": "in all until then",
    "difference": "difference to {base}",
}
_UNITS = {"instructions": "guest instructions", "events": "events of the trace"}

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 2, 1, 2], [12, 3])
_THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "ink": "#1f2328",
        "quiet": "#59636e",
        "grid": "#e3e1da",
        "mark": "#767d87",
        "lines": [
            *("#0b5a78", "#b4530a", "#6a3d9a", "#1b7f3b"),
            *("#a3174f", "#4a4f57", "#8a6d00", "#2f6db3"),
        ],
    },
    "dark": {
        "ink": "#e6edf3",
        "quiet": "#9da7b3",
        "grid": "#2b3036",
        "mark": "#969ba5",
        "lines": [
            *("#6fc3e4", "#f2a65a", "#c4a7f0", "#6fcf8f"),
            *("#ff8ab8", "#c9ced6", "#e3c34d", "#7cb8f2"),
        ],
    },
}


def timeline_chart(
    found: Beside, name: str, *, theme: Literal["light", "dark"] = "light"
) -> dict[str, Any]:
    """The specification for a table of timelines of the trace ``name``."""
    colours = _THEMES[theme]
    heads = _heads(found)
    last = len(found.counters) - 1
    panels = [
        _panel(found, counter, heads, colours, is_first=place == 0, is_last=place == last)
        for place, counter in enumerate(found.counters)
    ]
    drawn = ", ".join(found.counters)
    return {
        "$schema": SCHEMA,
        "description": f"{drawn} over the time of the guest of {shown(name)}, for "
        + ", ".join(heads),
        "background": "transparent",
        "padding": 4,
        "config": _config(colours),
        "vconcat": panels,
        "spacing": 14,
    }


def shown(text: str) -> str:
    """A name or label from elsewhere, made safe for a drawing."""
    return printable(text[:_CHARACTERS_MAX])


def _heads(found: Beside) -> list[str]:
    """The labels; equal ones are told apart by invisible characters."""
    return [shown(label) + "\u200b" * place for place, label in enumerate(found.labels)]


def _config(colours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "font": "system-ui, 'DejaVu Sans', sans-serif",
        "view": {"stroke": None},
        "axis": {
            "labelColor": colours["quiet"],
            "titleColor": colours["quiet"],
            "gridColor": colours["grid"],
            "domainColor": colours["mark"],
            "tickColor": colours["mark"],
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
        },
        "title": {
            "color": colours["ink"],
            "subtitleColor": colours["quiet"],
            "fontSize": 12,
            "subtitleFontSize": 11,
            "anchor": "start",
            "frame": "group",
            "offset": 6,
        },
        "legend": {"labelColor": colours["ink"], "labelFontSize": 12, "labelLimit": 320},
    }


def _panel(
    found: Beside,
    counter: str,
    heads: list[str],
    colours: Mapping[str, Any],
    *,
    is_first: bool,
    is_last: bool,
) -> dict[str, Any]:
    x = {
        "field": "place",
        "type": "quantitative",
        "scale": {"domain": [0, found.ends[-1]], "nice": False},
        "axis": {
            "title": _UNITS[found.unit] if is_last else None,
            "labels": is_last,
            "format": "~s",
            "grid": False,
            "tickCount": 8,
        },
    }
    marks = [_rules(found, x, colours)] if found.marks else []
    names = [_mark_names(found, x, colours)] if found.marks and is_first else []
    told = _TITLES[found.view].format(base=shown(found.labels[0]))
    if counter in STOCKS and found.view == "slice":
        told = "the most in each slice"
    return {
        "title": {"text": shown(counter), "subtitle": told, "dy": -14 if names else 0},
        "width": WIDTH,
        "height": PANEL_HEIGHT,
        "layer": [*marks, *names, _lines(found, counter, heads, x, colours, is_first=is_first)],
    }


def _lines(
    found: Beside,
    counter: str,
    heads: list[str],
    x: Mapping[str, Any],
    colours: Mapping[str, Any],
    *,
    is_first: bool,
) -> dict[str, Any]:
    many = len(heads) > 1
    first = 1 if found.view == "difference" else 0
    shown_heads = heads[first:]
    legend = {"orient": "top", "title": None, "symbolSize": 400, "symbolStrokeWidth": 2.5}
    encoding: dict[str, Any] = {
        "x": x,
        "y": {
            "field": "value",
            "type": "quantitative",
            "axis": {
                "title": None,
                "tickCount": 4,
                "format": "~s",
                "domain": False,
                "ticks": False,
            },
        },
        "color": {
            "field": "run",
            "type": "nominal",
            "scale": {"domain": shown_heads, "range": colours["lines"][first : len(heads)]},
            "legend": legend if many and is_first else None,
        },
    }
    if many:
        encoding["strokeDash"] = {
            "field": "run",
            "type": "nominal",
            "scale": {"domain": shown_heads, "range": list(_DASHES[first : len(heads)])},
            "legend": legend if is_first else None,
        }
    step = "step-before" if found.view == "slice" else "linear"
    mark: dict[str, Any] = {"type": "line", "strokeWidth": 1.8, "interpolate": step}
    if not many:
        mark |= {"type": "area", "line": True, "fillOpacity": 0.18}
    return {
        "data": {"values": _points(found, counter, heads, first)},
        "mark": mark,
        "encoding": encoding,
    }


def _points(found: Beside, counter: str, heads: list[str], first: int) -> list[dict[str, Any]]:
    points = []
    for head, values in list(zip(heads, found.values[counter], strict=True))[first:]:
        # A slice's line begins where the slice does.
        begin = values[0] if found.view == "slice" else 0
        points.append({"run": head, "place": 0, "value": begin})
        points += [
            {"run": head, "place": end, "value": value}
            for end, value in zip(found.ends, values, strict=True)
            if value is not None
        ]
    return points


def _rules(found: Beside, x: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": {"values": [{"place": found.place_of(mark)} for mark in found.marks]},
        "mark": {"type": "rule", "color": colours["mark"], "strokeDash": [2, 3], "strokeWidth": 1},
        "encoding": {"x": x},
    }


def _mark_names(found: Beside, x: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    """The marks' numbers above the first panel, those that have room; names are in the table."""
    named: list[dict[str, Any]] = []
    last = -1.0
    for mark in found.marks:
        place = found.place_of(mark)
        if place / found.ends[-1] - last >= _MARK_ROOM and len(named) < _MARKS_NAMED:
            named.append({"place": place, "text": str(mark.number)})
            last = place / found.ends[-1]
    return {
        "data": {"values": named},
        "mark": {"type": "text", "color": colours["quiet"], "fontSize": 10, "baseline": "bottom"},
        "encoding": {"x": x, "y": {"value": -2}, "text": {"field": "text", "type": "nominal"}},
    }

"""The one chart of a comparison, as a Vega-Lite specification: change per column against the base.

::

                    base     1-2      1-3     1-4*, 1-5*   1-6
    wrong address  │   0   │   0   │ ⚠ 32  │  ⚠ 32     │   0   │   what the guest saw
    exits          │ 96185 │   =   │▼ -0.24%│▲ +1.1%   │▲ +18.9%│  what it cost

One row a counter that any column changes, one column a variant, one such
grid a trace. Colour is read from change in percent, orange for more and blue
for less, which people who see few colours tell apart too; every cell says the
same in text, with sign and arrow. Cells where the guest was misled are filled
and framed in their own colour.

The specification is a plain dict over what :func:`refault.compare.to_dict`
gives; nothing here draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from refault.compare import titles
from refault.errors import ComparisonError, DrawingTooLarge
from refault.printable import printable

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
ROW_HEIGHT = 22
COLUMN_WIDTH = 104
CELLS_MAX = 10_000
"""Of one drawing, over all its grids: time and memory grow with the number of cells."""

# More of a name or a label than a drawing has room for.
_CHARACTERS_MAX = 200

_DOMAIN = [-100, -10, -1, 0, 1, 10, 100]

_THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "ink": "#1f2328",
        "quiet": "#59636e",
        "turned": "#ffffff",
        "empty": "#f3f4f6",
        "line": "#ffffff",
        "alarm": "#7a0177",
        "turned_from": 40,  # percent from which the fill is so strong that the ink turns over
        "scale": ["#08519c", "#6baed6", "#deebf7", "#f3f4f6", "#feedde", "#fd8d3c", "#a63603"],
    },
    "dark": {
        "ink": "#e6edf3",
        "quiet": "#9da7b3",
        "turned": "#0d1117",
        "empty": "#21262d",
        "line": "#0d1117",
        "alarm": "#c51b8a",
        "turned_from": 30,
        "scale": ["#79c0ff", "#2f6db3", "#1c3350", "#21262d", "#4a2f16", "#b0601c", "#ffa657"],
    },
}


def chart(
    documents: Sequence[Mapping[str, Any]], *, theme: Literal["light", "dark"] = "light"
) -> dict[str, Any]:
    """The specification for the comparisons of one or more traces, each as ``to_dict()`` gives it.

    Raises:
        ComparisonError: there is nothing to draw.
        DrawingTooLarge: it would have more than :data:`CELLS_MAX` cells.
    """
    if not documents:
        raise ComparisonError("nothing to draw: compare at least one trace")
    count = sum(map(cell_count, documents))
    if count > CELLS_MAX:
        raise DrawingTooLarge(
            f"the chart would have {count:,} cells; the maximum is {CELLS_MAX:,}: draw one trace "
            "by its digest, or compare fewer columns; the other formats have all cells"
        )
    colours = _THEMES[theme]
    return {
        "$schema": SCHEMA,
        "description": _description(documents),
        "background": "transparent",
        "padding": 4,
        "config": _config(colours),
        "vconcat": [_grid(document, colours) for document in documents],
        "spacing": 28,
    }


def cell_count(document: Mapping[str, Any]) -> int:
    """How many cells the grid of one trace has."""
    semantics = sum(1 for row in document["semantics"] if _is_drawn(row))
    changed = sum(1 for row in document["counters"] if not row["is_same"])
    return len(document["columns"]) * (1 + semantics + changed)


def _is_drawn(row: Mapping[str, Any]) -> bool:
    return row["name"] in titles.WRONG and any(row["values"])


def _shown(text: str) -> str:
    """A name or label from elsewhere, made safe for a drawing."""
    return printable(text[:_CHARACTERS_MAX])


def _description(documents: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(_shown(document["trace"]["name"]) for document in documents)
    return f"Change of each counter against the base, per column, for {names}."


def _config(colours: Mapping[str, Any]) -> dict[str, Any]:
    text = {"labelColor": colours["ink"], "titleColor": colours["quiet"]}
    return {
        "font": "system-ui, 'DejaVu Sans', sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "domain": False, "ticks": False, "grid": False, "labelFontSize": 12},
        "title": {
            "color": colours["ink"],
            "subtitleColor": colours["quiet"],
            "fontSize": 14,
            "subtitleFontSize": 12,
            "anchor": "start",
            "offset": 10,
        },
        "text": {"fontSize": 12},
    }


def _grid(document: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    cells = _cells(document, _heads(document["columns"]))
    # Rows and columns stand in the order of the cells; a list of them as `sort` would become one
    # condition per entry, asked for every cell.
    place = {
        "x": {
            "field": "column",
            "type": "nominal",
            "sort": None,
            "axis": {
                "orient": "top",
                "title": None,
                "labelAngle": 0,
                "labelLimit": COLUMN_WIDTH - 8,
            },
        },
        "y": {
            "field": "row",
            "type": "nominal",
            "sort": None,
            "axis": {"title": None, "labelLimit": 200},
        },
    }
    return {
        "title": {
            "text": _shown(document["trace"]["name"]),
            "subtitle": _subtitle(document),
        },
        "width": {"step": COLUMN_WIDTH},
        "height": {"step": ROW_HEIGHT},
        "data": {"values": cells},
        "layer": [_fills(place, colours), _alarms(place, colours), _texts(place, colours)],
    }


def _subtitle(document: Mapping[str, Any]) -> list[str]:
    same = sum(1 for row in document["counters"] if row["is_same"])
    base = _shown(document["columns"][0]["label"])
    lines = [
        f"change against {base}: ▲ orange more, ▼ blue less; {same} more counters are the same"
    ]
    if not all(column["has_real_code_result"] for column in document["columns"]):
        lines.append("* no real-code result exists: the numbers are the model's alone")
    return lines


def _heads(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns' labels; equal ones are told apart by invisible characters."""
    heads = []
    seen: Counter[str] = Counter()
    for column in columns:
        mark = "" if column["has_real_code_result"] else "*"
        head = _shown(", ".join(f"{label}{mark}" for label in column["labels"]))
        heads.append(head + "\u200b" * seen[head])
        seen[head] += 1
    return heads


def _fills(place: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mark": {"type": "rect", "stroke": colours["line"], "strokeWidth": 2},
        "encoding": {
            **place,
            "fill": {
                "field": "percent",
                "type": "quantitative",
                "scale": {
                    "type": "linear",
                    "domain": _DOMAIN,
                    "range": colours["scale"],
                    "clamp": True,
                },
                "legend": None,  # every cell says it in text
            },
            "tooltip": [
                {"field": "column", "title": "column"},
                {"field": "row", "title": "counter"},
                {"field": "value", "title": "count"},
                {"field": "change", "title": "change"},
                {"field": "percent_text", "title": "percent"},
            ],
        },
    }


def _alarms(place: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "transform": [{"filter": "datum.is_alarm"}],
        "mark": {
            "type": "rect",
            "fill": colours["alarm"],
            "stroke": colours["ink"],
            "strokeWidth": 2,
        },
        "encoding": place,
    }


def _texts(place: Mapping[str, Any], colours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mark": {"type": "text", "baseline": "middle"},
        "encoding": {
            **place,
            "text": {"field": "text", "type": "nominal"},
            "color": {
                "condition": [
                    {"test": "datum.is_alarm", "value": "#ffffff"},
                    {"test": "datum.is_quiet", "value": colours["quiet"]},
                    {
                        "test": f"abs(datum.percent) >= {colours['turned_from']}",
                        "value": colours["turned"],
                    },
                ],
                "value": colours["ink"],
            },
        },
    }


def _cells(document: Mapping[str, Any], columns: Sequence[str]) -> list[dict[str, Any]]:
    cells = [
        _verdict_cell(head, column)
        for head, column in zip(columns, document["columns"], strict=True)
    ]
    cells += [
        _semantics_cell(titles.WRONG[row["name"]], column, value)
        for row in document["semantics"]
        if _is_drawn(row)
        for column, value in zip(columns, row["values"], strict=True)
    ]
    changed = [row for row in document["counters"] if not row["is_same"]]
    for row in changed:
        numbers = zip(columns, row["values"], row["changes"], row["percents"], strict=True)
        cells += [
            _counter_cell(row["name"], numbers_of_column, place, is_notable=row["notable"][place])
            for place, numbers_of_column in enumerate(numbers)
        ]
    return cells


def _verdict_cell(head: str, column: Mapping[str, Any]) -> dict[str, Any]:
    verdict = column["verdict"]
    return {
        "row": "verdict",
        "column": head,
        "value": None,
        "change": None,
        "percent": 0,
        "percent_text": None,
        "text": f"⚠ {verdict['word']}" if verdict["is_alarming"] else verdict["word"],
        "is_alarm": verdict["is_alarming"],
        "is_quiet": False,
    }


def _semantics_cell(title: str, column: str, value: int | None) -> dict[str, Any]:
    return {
        "row": title,
        "column": column,
        "value": value,
        "change": None,
        "percent": 0,
        "percent_text": None,
        "text": "–" if value is None else (f"⚠ {value}" if value else "0"),
        "is_alarm": bool(value),
        "is_quiet": not value,
    }


def _counter_cell(
    name: str,
    numbers: tuple[str, int | None, int | None, str | None],
    place: int,
    *,
    is_notable: bool,
) -> dict[str, Any]:
    column, value, change, percent = numbers
    return {
        "row": name,
        "column": column,
        "value": value,
        "change": change,
        # What is below the threshold, or not held against the base, has no colour.
        "percent": _percent(numbers) if is_notable else 0,
        "percent_text": percent,
        "text": _text(value, change, percent, place),
        "is_alarm": False,
        "is_quiet": place == 0 or not change,
    }


def _percent(numbers: tuple[str, int | None, int | None, str | None]) -> float:
    """The change as a number, for the colour only; any change from zero has full strength."""
    _, value, change, _ = numbers
    if value is None or not change:
        return 0
    base = value - change
    return 100 * change / abs(base) if base else (100 if change > 0 else -100)


def _text(value: int | None, change: int | None, percent: str | None, place: int) -> str:
    if value is None:
        return "–"
    if place == 0 or change is None:
        return str(value)
    if change == 0:
        return "="
    told = f"{'▲' if change > 0 else '▼'} {percent or f'{change:+d}'}"
    return told.replace("-", "−")  # the sign that pages have

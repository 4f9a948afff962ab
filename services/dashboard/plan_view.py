"""The plan of a batch drawn as what it is: a waterfall, bars, or a grid.

Ratios come from the API, each over one and the same set of traces, so that the steps of a series
multiply to its end. Bars lie on a logarithmic scale: a half is as long as a double.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from refault.compare import Verdict
from refault.compare.stages import patch_of
from services.dashboard.cells import Heat
from services.dashboard.formats import ratio, with_minus
from services.dashboard.place import Place
from services.dashboard.verdicts import shown

WIDTH = 240
"""Of a drawing of bars, in its own units."""
_LEAST_SPAN = math.log(1.02)


def plan_of(
    document: Mapping[str, Any], place: Place, anchors: Mapping[str, str]
) -> dict[str, Any] | None:
    """What to draw of the plan; None where its columns say all there is to say."""
    batch, overview = document["batch"], document["overview"]
    if place.base != 0 or len(batch["columns"]) < 2:  # noqa: PLR2004  # nothing against nothing
        return None
    match batch["plan"]:
        case "series":
            return _series(document)
        case "ablation":
            return _ablation(document)
        case "matrix":
            return _matrix(batch, overview, place, anchors)
        case _:
            return None


def pairs_of(document: Mapping[str, Any]) -> list[str]:
    """What pairs of patches do together that neither does alone, as sentences."""
    found = document.get("interactions") or ()
    return [with_minus(f"{each['sentence']}.") for each in found if each["is_notable"]]


def _series(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """One row for each patch: its own step, and the product of all steps so far."""
    rows = _rows(document, is_ablation=False)
    if rows is None:
        return None
    traces = document["overview"]["common"]["traces"]
    return {
        "kind": "bars",
        "title": "What each patch does",
        "caption": "Each patch against the column before it, and all so far against the base: "
        f"exits, geometric mean over {_fit(traces)}. Bars begin where the patch before ended.",
        "steps": "Step",
        "ends": "To base",
        "rows": rows,
    }


def _ablation(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """One row for each patch: what leaving it out does to the whole."""
    rows = _rows(document, is_ablation=True)
    if rows is None:
        return None
    label = document["overview"]["columns"][0]["label"]
    traces = document["overview"]["common"]["traces"]
    return {
        "kind": "bars",
        "title": "What leaving out each patch does",
        "caption": f"Each column against {label}: exits, geometric mean over {_fit(traces)}. "
        "A bar to the right: it exits more often without that patch.",
        "steps": "Without it",
        "ends": "",
        "rows": rows,
    }


def _rows(document: Mapping[str, Any], *, is_ablation: bool) -> list[dict[str, Any]] | None:
    batch, overview = document["batch"], document["overview"]
    places = {group["variant_digest"]: n for n, group in enumerate(overview["columns"])}
    ratios = overview["common"]["ratios"]
    sets = {entry["id"]: entry for entry in batch["patch_sets"]}
    told = {
        step["before" if step["is_removal"] else "label"]: step
        for step in document.get("steps") or ()
    }
    known: list[tuple[Mapping[str, Any], float | None, float | None, str]] = []
    before = dict.fromkeys(sets, ratios[0])
    for column in batch["columns"][1:]:
        key, end = column["patch_set_id"], ratios[places[column["variant"]["digest"]]]
        start = ratios[0] if is_ablation else before[key]
        before[key] = end
        patch = patch_of(column["label"], column["prefix_length"], sets[key]["patches"])
        known.append((column, start, end, patch))
    if not known:
        return None
    ends = [math.log(each) for _, start, end, _ in known for each in (start, end) if each]
    scale = _Scale.of([0.0, *ends])
    return [
        {
            "label": column["label"],
            "patch": patch,
            "title": told.get(column["label"], {}).get("patch_title"),
            "verdict": _worst(overview, places[column["variant"]["digest"]]),
            "step": ratio(end / start) if start and end else "–",
            "end": ratio(end) if end else "–",
            "bar": scale.bar(start, end),
            "sentence": with_minus(told.get(column["label"], {}).get("sentence") or ""),
            "merge": told.get(column["label"], {}).get("merge"),
        }
        for column, start, end, patch in known
    ]


class _Scale:
    """Logarithms of ratios as places in a drawing."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._span = low, max(high - low, _LEAST_SPAN)

    @classmethod
    def of(cls, logarithms: Sequence[float]) -> "_Scale":
        """The scale that has room for all of them."""
        return cls(min(logarithms), max(logarithms))

    def at(self, value: float) -> float:
        """The place of a ratio."""
        return round((math.log(value) - self._low) / self._span * (WIDTH - 4) + 2, 1)

    def bar(self, start: float | None, end: float | None) -> dict[str, Any] | None:
        """A bar from one ratio to another; None where one of them is not known."""
        if not start or not end:
            return None
        first, last = sorted((self.at(start), self.at(end)))
        tone = "same" if start == end else "more" if end > start else "less"
        width = max(round(last - first, 1), 1.5)
        return {"x": first, "width": width, "tone": tone, "zero": self.at(1.0), "of": WIDTH}


def _fit(traces: Sequence[str]) -> str:
    """The traces that a mean is over, by name if they are few."""
    if not traces:
        return "no trace, as each has an alarm under some column"
    named = traces[0] if len(traces) == 1 else f"{len(traces)} traces"
    return f"{named} (without an alarm under any column)"


def _worst(overview: Mapping[str, Any], place: int) -> Any:
    verdicts = [Verdict(trace["verdicts"][place]) for trace in overview["traces"]]
    return shown(min(verdicts, key=lambda verdict: verdict.rank).value)


def _matrix(
    batch: Mapping[str, Any],
    overview: Mapping[str, Any],
    place: Place,
    anchors: Mapping[str, str],
) -> dict[str, Any] | None:
    """Patch sets × what was varied; heads name only what differs."""
    factors = [_factors(column, batch) for column in batch["columns"]]
    names = list(dict.fromkeys(name for each in factors for name in each))
    varied = [name for name in names if len({each.get(name) for each in factors}) > 1]
    if not varied:
        return None
    across = varied[-1]
    down = [name for name in varied if name != across]
    rows = list(dict.fromkeys(tuple(each.get(name, "") for name in down) for each in factors))
    heads = list(dict.fromkeys(each.get(across, "") for each in factors))
    cells = {
        (tuple(each.get(name, "") for name in down), each.get(across, "")): index
        for index, each in enumerate(factors)
    }
    places = {group["variant_digest"]: n for n, group in enumerate(overview["columns"])}
    digests = [column["variant"]["digest"] for column in batch["columns"]]
    anchor = next(iter(anchors.values()), None)
    return {
        "kind": "grid",
        "title": "The plan",
        "caption": f"{', '.join(map(_title, down)) or 'All'} × {_title(across)}: the worst verdict "
        f"over all traces, and the mean of the exits against {overview['columns'][0]['label']}.",
        "across": _title(across),
        "down": [_title(name) for name in down],
        "heads": heads,
        "rows": [
            {
                "heads": row,
                "cells": [
                    _grid_cell(overview, places, digests, cells.get((row, head)), anchor, place)
                    for head in heads
                ],
            }
            for row in rows
        ],
    }


_SET = "patch set"


def _factors(column: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, str]:
    """What a column of a matrix is made of: its patch set, and the value on each axis."""
    name = next(
        entry["name"] for entry in batch["patch_sets"] if entry["id"] == column["patch_set_id"]
    )
    words = str(column["label"]).removeprefix(name).split()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    return {_SET: name, **values}


def _title(name: str) -> str:
    return name.replace("-", " ")


def _grid_cell(
    overview: Mapping[str, Any],
    places: Mapping[str, int],
    digests: Sequence[str],
    index: int | None,
    anchor: str | None,
    place: Place,
) -> Heat | None:
    """A cell of the grid; None for a combination that is not run."""
    if index is None:
        return None
    number = places[digests[index]]
    verdict = _worst(overview, number)
    mean = overview["common"]["ratios"][number]
    first = digests.index(digests[index])
    kind = "w" if verdict.tone == "alarm" else "c"
    href = f"#{anchor}-{kind}{first}" if anchor else place.query(cursor=None)
    text = ratio(mean) if mean and number else ""
    return Heat(verdict, text, verdict.tone, href)

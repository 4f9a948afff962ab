"""The page that compares columns of any batches, from the API's document."""

import shlex
from collections.abc import Mapping
from typing import Any, cast

from refault.client import BatchDocument
from services.dashboard.arrangement import SORTS, indexed, ordered, rearranged
from services.dashboard.conclusion import conclusion
from services.dashboard.formats import ratio
from services.dashboard.heat import heat_of
from services.dashboard.place import Place
from services.dashboard.plan_view import pairs_of
from services.dashboard.trace_section import section_of


def page_of(document: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Everything the template of the comparison needs."""
    overview, comparisons = document["overview"], document["comparisons"]
    columns = document["columns"]
    indexes = indexed(columns, overview["columns"])
    digests = ordered(place.arrangement, overview, columns)
    numbers = {trace["digest"]: number for number, trace in enumerate(overview["traces"], 1)}
    anchors = {
        entry["trace"]["digest"]: f"trace-{numbers[entry['trace']['digest']]}"
        for entry in comparisons
    }
    # What the section of a trace reads of a batch.
    batch = cast(
        "BatchDocument",
        {"columns": columns, "simulators": document["simulators"], "state": "done", "code": ""},
    )
    cursor = document["next_cursor"]
    arrangement = place.arrangement
    return {
        "verdict": conclusion(
            {**document, "batch": {"plan": "each", "columns": columns}},
            lambda digest: place.of_trace(digest, anchors),
            is_running=False,
        ),
        "columns": [_column(document, place, number) for number in range(len(columns))],
        "pairs": pairs_of(document),
        "left_out": document["left_out"],
        "traces_left_out": document["traces_left_out"],
        "is_stale": document["is_stale"],
        "heat": heat_of(overview, digests, indexes, place, anchors) | {"is_shown": True},
        "means": _means(overview),
        "traces": [
            section_of(
                rearranged(entry, digests),
                indexes,
                place,
                batch,
                anchor=anchors[entry["trace"]["digest"]],
            )
            for entry in comparisons
        ],
        "query": place.form_query(),
        "address": place.address,
        "next": f"{place.query(cursor=cursor)}#traces" if cursor else None,
        "whole": place.query(trace=None, cursor=None) if place.trace else None,
        "sorts": [
            {"name": name, "title": title, "is_chosen": name == arrangement.sort}
            for name, title in SORTS.items()
        ],
        "over": arrangement.over_text,
        "every": arrangement.every,
        "costs": place.costs or "",
        "command": shlex.join(document["command"]),
    }


def _column(document: Mapping[str, Any], place: Place, number: int) -> dict[str, Any]:
    column = document["columns"][number]
    rest = [name for name in place.names if name != column["name"]]
    # The base keeps its place among those that stay.
    base = place.base - (number < place.base)
    return {
        **column,
        "is_base": number == document["base"],
        "as_base": place.query(base=number or None, cursor=None),
        "without": place.query(names=rest, base=base or None, cursor=None, pin=None, columns=None)
        if rest and number != document["base"]
        else None,
        "is_left_out": any(left["name"] == column["name"] for left in document["left_out"]),
    }


def _means(overview: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The geometric mean of each column that has one."""
    return [
        {
            "label": column["label"],
            "ratio": ratio(mean["ratio"]),
            "count": mean["trace_count"],
            "best": f"{mean['best']['trace']} {ratio(mean['best']['ratio'])}",
            "worst": f"{mean['worst']['trace']} {ratio(mean['worst']['ratio'])}",
        }
        for column, mean in zip(overview["columns"], overview["means"], strict=True)
        if mean is not None
    ]

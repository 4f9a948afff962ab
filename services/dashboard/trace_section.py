"""The section of one trace on the page of a batch: verdicts, counters, findings, chart."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from refault.client import BatchDocument
from refault.compare.chart import CELLS_MAX, cell_count
from refault.compare.titles import WRONG
from services.dashboard.arrangement import Arrangement
from services.dashboard.audits import audit_of, audited_of, look_at
from services.dashboard.cells import Cell, Change
from services.dashboard.columns import engine_of
from services.dashboard.costs import costs_of
from services.dashboard.formats import change, grouped
from services.dashboard.notes import Pins, cell_query
from services.dashboard.place import Place
from services.dashboard.reasons import Judged, reasons_of
from services.dashboard.verdicts import Shown, shown

FINDINGS_SHOWN = 5
_VERSION_LENGTH = 12
INSPECTED = ("shadow", "walk")
_WAITING_STATES = ("queued", "running")
_MISSING = shown("missing")


def section_of(
    comparison: Mapping[str, Any],
    indexes: Mapping[str, int],
    place: Place,
    batch: BatchDocument,
    *,
    anchor: str,
    pins: Pins | None = None,
) -> dict[str, Any]:
    """Everything the template of a trace's section needs; ``indexes`` are the batch's columns.

    ``pins`` are marks of notes; None where nothing can be noted.
    """
    columns = comparison["columns"]
    verdicts = [shown(column["verdict"]["name"]) for column in columns]
    changed, small, same = _sorted_out(comparison["counters"], place.arrangement)
    trace = comparison["trace"]
    is_running = batch["state"] in _WAITING_STATES
    # No engine but these keeps its state where it can be looked at.
    texts = {
        column["variant"]["digest"]: column["variant"]["text"]
        for column in batch["columns"]
        if column["variant"]["engine"] in INSPECTED
    }
    heads = _heads(comparison, verdicts, indexes, place, batch, anchor)
    return {
        "anchor": anchor,
        "name": trace["name"],
        "digest": trace["digest"],
        "facts": _facts(trace),
        "notes": comparison["notes"],
        "checked": comparison["semantics_note"],
        "columns": heads,
        "noted": [] if pins is None else _noted(comparison, indexes, place, pins),
        "pinned": 1 + _pinned(columns, indexes, place.arrangement),
        "groups": _groups(comparison, changed, place.arrangement),
        "small": [row["name"] for row in small],
        "over": place.arrangement.over_text,
        "unchanged": [
            {"name": row["name"], "value": grouped(row["values"][0])}
            for row in same
            if row["values"][0] is not None
        ],
        # No reason is shown for a queued cell.
        "reasons": reasons_of(
            [
                Judged(
                    column, verdict, f"{anchor}-w{indexes[column['variant_digest']]}", head["run"]
                )
                for column, verdict, head in zip(columns, verdicts, heads, strict=True)
                if not (is_running and verdict == _MISSING)
            ],
            audited_of(comparison),
            anchor,
            # A comparison across batches is no batch: nothing of it is run again.
            may_run_again=not batch.get("is_stale", True),
        ),
        "findings": [
            {**found, "id": f"{anchor}-f{indexes[column['variant_digest']]}"}
            for column in columns
            if (found := _findings(column, trace["digest"], texts))
        ],
        "audit": audit_of(comparison, texts),
        "costs": costs_of(comparison),
        **_chart(comparison, indexes, place),
    }


def _noted(
    comparison: Mapping[str, Any], indexes: Mapping[str, int], place: Place, pins: Pins
) -> list[dict[str, Any]]:
    """Of each cell: how many notes it has, and where they are and more are written."""
    digest = comparison["trace"]["digest"]
    return [
        {
            "count": pins.cells.get((digest, variant), 0),
            "href": f"{place.query(on=cell_query(digest, indexes[variant]))}#notes",
        }
        for variant in (column["variant_digest"] for column in comparison["columns"])
    ]


def _chart(
    comparison: Mapping[str, Any], indexes: Mapping[str, int], place: Place
) -> dict[str, str | None]:
    """The address of the chart, or why there is none."""
    columns = comparison["columns"]
    # Not while cells are missing: it would be redrawn for each.
    is_whole = all(column["state"] not in _WAITING_STATES for column in columns)
    if not (is_whole and any(not row["is_same"] for row in comparison["counters"])):
        return {"chart": None, "no_chart": None}
    if cell_count(comparison) > CELLS_MAX:
        text = f"No chart: it would have more than {grouped(CELLS_MAX)} cells. The table above "
        return {"chart": None, "no_chart": f"{text}has the numbers."}
    # In the order of the table, which may be sorted.
    order = ",".join(str(indexes[column["variant_digest"]]) for column in columns[1:])
    is_ordered = place.arrangement.chosen is not None or place.arrangement.sort
    digest = comparison["trace"]["digest"]
    query = place.form_query(trace=digest, columns=order if is_ordered else None, costs=None)
    # Its runs are over, and what they came to is in the address: a browser asks once.
    return {"chart": f"{place.address}.svg{query}&version={_version(comparison)}", "no_chart": None}


def _version(comparison: Mapping[str, Any]) -> str:
    """A short name of what a chart shows."""
    text = json.dumps(comparison, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]


def _heads(
    comparison: Mapping[str, Any],
    verdicts: Sequence[Shown],
    indexes: Mapping[str, int],
    place: Place,
    batch: BatchDocument,
    anchor: str,
) -> list[dict[str, Any]]:
    """The heads of the columns: each leads to its run, and makes its column the base."""
    # Columns of several batches say of which they are.
    codes = {
        each["variant"]["digest"]: each.get("batch", batch["code"]) for each in batch["columns"]
    }
    heads = []
    for column, verdict in zip(comparison["columns"], verdicts, strict=True):
        digest = column["variant_digest"]
        run = urlencode({"trace": comparison["trace"]["digest"], "variant": digest})
        heads.append(
            {
                "label": column["label"],
                "run": f"/batches/{codes[digest]}/cell?{run}",
                "id": f"{anchor}-c{indexes[digest]}",
                "href": place.query(base=indexes[digest] or None, cursor=None),
                "golden_name": column["golden_name"],
                **engine_of(column["engine"], column["variant_names"][0], batch),
                "verdict": verdict,
            }
        )
    return heads


def _facts(trace: Mapping[str, Any]) -> list[str]:
    named = (
        ("event_count", "events"),
        ("operation_count", "operations"),
        ("instruction_count", "guest instructions"),
    )
    return [f"{grouped(trace[key])} {noun}" for key, noun in named if trace[key] is not None]


def _sorted_out(
    rows: Sequence[Mapping[str, Any]], arrangement: Arrangement
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rows to show, those that move by less than the reader's threshold, those that do not."""
    same = [row for row in rows if row["is_same"]]
    moving = [row for row in rows if not row["is_same"]]
    if arrangement.every:
        return list(rows), [], []
    notable = [
        row
        for row in moving
        # Where the base has no value there is no change to measure.
        if row["values"][0] is None
        or any(arrangement.is_notable(delta, row["values"][0]) for delta in row["changes"])
    ]
    return notable, [row for row in moving if row not in notable], same


def _pinned(
    columns: Sequence[Mapping[str, Any]], indexes: Mapping[str, int], arrangement: Arrangement
) -> int:
    """How many columns beside the base are pinned; they come first."""
    return sum(indexes[column["variant_digest"]] in arrangement.pins for column in columns[1:])


def _groups(
    comparison: Mapping[str, Any], changed: Sequence[Mapping[str, Any]], arrangement: Arrangement
) -> list[dict[str, Any]]:
    """The table's groups of rows: what the guest saw, then costs, then the other counters."""
    columns = comparison["columns"]
    costs = [row for row in changed if row["is_cost"]]
    others = [row for row in changed if not row["is_cost"]]
    groups = [
        {
            "title": "What the guest saw",
            "what": "held against the real guest of the capture, and against the base",
            "is_words": True,
            "rows": [_outcome_row(columns), *_semantics_rows(comparison["semantics"])],
        },
        {
            "title": "Host work, less is better",
            "what": "counters that verdicts rest on",
            "is_words": False,
            "rows": [_counter_row(row, arrangement, is_cost=True) for row in costs],
        },
        {
            "title": "Other counters",
            "what": "how the work was done; no verdict rests on them",
            "is_words": False,
            "rows": [_counter_row(row, arrangement, is_cost=False) for row in others],
        },
    ]
    return [group for group in groups if group["rows"]]


def _outcome_row(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether every outcome of every access is the base's: the proof of "no functional change"."""
    words = {True: "same as base", False: "differ", None: "–"}
    cells = [
        Cell(words[column["is_same_to_guest"]], is_quiet=True)
        if column["is_same_to_guest"] is not False
        else Cell(words[False], is_wrong=True)
        for column in columns
    ]
    if columns[0]["is_same_to_guest"] is not None:
        cells[0] = Cell("base", is_quiet=True)
    return {"name": "All outcomes", "cells": cells, "counter": None}


def _semantics_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The disagreements with the real guest; one row of zeros if there are none."""
    wrong = [row for row in rows if row["name"] in WRONG]
    found = [row for row in wrong if any(row["values"])]
    if not found and wrong:
        return [_semantics_row("Wrong outcomes", wrong[0]["values"])]
    return [_semantics_row(WRONG[row["name"]].capitalize(), row["values"]) for row in found]


def _semantics_row(name: str, values: Sequence[int | None]) -> dict[str, Any]:
    cells = [Cell(grouped(value), is_quiet=not value, is_wrong=bool(value)) for value in values]
    return {"name": name, "cells": cells, "counter": None}


def _counter_row(
    row: Mapping[str, Any], arrangement: Arrangement, *, is_cost: bool
) -> dict[str, Any]:
    cells = []
    numbers = zip(row["values"], row["changes"], row["percents"], row["notable"], strict=True)
    for place, (value, delta, percent, is_notable) in enumerate(numbers):
        if place == 0 or delta is None:
            cells.append(Cell(grouped(value)))
            continue
        # No colour below the threshold, nor where the guest saw something wrong.
        is_wanted = arrangement.is_notable(delta, row["values"][0])
        is_judged = is_cost and is_notable and is_wanted
        tone = ("more" if delta > 0 else "less") if is_judged else ""
        if delta == 0:
            cells.append(Cell("=", is_quiet=True))
        else:
            told = Change(change(delta, percent), tone)
            cells.append(Cell(grouped(value), told, is_quiet=not is_wanted))
    return {"name": row["name"], "cells": cells, "counter": row["name"]}


def _findings(
    column: Mapping[str, Any], trace: str, texts: Mapping[str, str]
) -> dict[str, Any] | None:
    found = list(column["findings"])
    stopped = column["stopped"]
    if stopped is not None and stopped not in found:
        found.insert(0, stopped)
    if not found:
        return None
    first = found[:FINDINGS_SHOWN]
    if stopped is not None and stopped not in first:
        first[-1] = stopped
    return {
        "label": column["label"],
        "count": max(column["finding_count"] or 0, len(found)),
        "shown": len(first),
        "rows": [
            entry
            | {
                "is_last": entry == stopped,
                "look": look_at(
                    trace, texts.get(column["variant_digest"]), entry, gva=entry["gva"]
                ),
            }
            for entry in first
        ],
    }

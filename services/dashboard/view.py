"""The batch page, from the API's comparison document.

The document has numbers and names; here they become cells, sentences and
anchors. No numbers are computed here.
"""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from refault.client import BatchDocument
from refault.compare.chart import CELLS_MAX, cell_count
from refault.compare.titles import WRONG, engine_word
from services.dashboard.audits import audit_of, audits_of, look_at
from services.dashboard.cells import Cell, Change
from services.dashboard.conclusion import conclusion
from services.dashboard.costs import costs_of, form_of
from services.dashboard.formats import change, counted, grouped
from services.dashboard.verdicts import shown

FINDINGS_SHOWN = 5
SHADOW, KERNEL = "shadow", "kernel"
INSPECTED = (SHADOW, "walk")
_FINAL_STATES = ("done", "failed", "cancelled")
_WAITING_STATES = ("queued", "running")


@dataclasses.dataclass(frozen=True)
class Place:
    """A position in the pages of a batch.

    ``address`` is the comparison's. ``base`` is the base column, ``trace``
    the digest of the one trace shown, ``cursor`` where this page of traces begins, ``costs`` the
    weights of the cost model.
    """

    address: str
    base: int = 0
    trace: str | None = None
    cursor: str | None = None
    costs: str | None = None

    def query(self, **changed: Any) -> str:
        """The query of this position with ``changed`` applied; defaults are omitted.

        A bare ``?`` if nothing is left, which still links to the page's own address.
        """
        told = {
            "base": self.base or None,
            "trace": self.trace,
            "cursor": self.cursor,
            "costs": self.costs,
        } | changed
        return "?" + urlencode({name: value for name, value in told.items() if value})

    def of_trace(self, digest: str, anchors: Mapping[str, str]) -> str:
        """The link to a trace: its anchor on this page, or its own page."""
        if digest in anchors:
            return f"#{anchors[digest]}"
        return self.query(trace=digest, cursor=None)


def page_of(document: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Everything the template of the batch page needs."""
    batch, overview = document["batch"], document["overview"]
    comparisons = document["comparisons"]
    is_running = batch["state"] not in _FINAL_STATES
    numbers = {trace["digest"]: number for number, trace in enumerate(overview["traces"], 1)}
    shown_digests = [entry["trace"]["digest"] for entry in comparisons]
    anchors = {digest: f"trace-{numbers[digest]}" for digest in shown_digests}
    progress = batch["progress"]
    events_total = progress.get("events_total") or 0
    bases = {entry["id"]: entry["base"] for entry in batch["patch_sets"]}
    return {
        "title": " and ".join(entry["name"] for entry in batch["patch_sets"]),
        "verdict": conclusion(
            document, lambda digest: place.of_trace(digest, anchors), is_running=is_running
        ),
        "is_running": is_running,
        "address": place.address,
        "parts": f"/batches/{batch['code']}/parts{place.query()}",
        "bar": {
            "total": events_total or progress["total"],
            "done": (progress.get("events_done") or 0) if events_total else progress["finished"],
        },
        "counted": counted(batch["trace_count"], "trace")
        + " × "
        + counted(batch["column_count"], "column"),
        "simulators": batch["simulators"],
        "has_engines": _has_engines(batch),
        "is_stale": batch["is_stale"],
        "audits": audits_of(batch),
        "costs": form_of(document, place),
        "alarms": counted(batch["integrity_alarms"], "cell") if batch["integrity_alarms"] else "",
        "going_on": _going_on(batch),
        "shares": [],
        "is_other_base": place.base > 0,
        "query": place.query(cursor=None, costs=None).removesuffix("?"),
        "overview": _overview(overview, place, anchors),
        "traces": [
            _trace(entry, anchors[digest], place, batch, is_running=is_running)
            for digest, entry in zip(shown_digests, comparisons, strict=True)
        ],
        **_paging(document, place, [numbers[digest] for digest in shown_digests]),
        "columns": [
            {
                "index": index,
                "is_base": index == place.base,
                "label": column["label"],
                "name": column["variant"]["name"],
                "golden_name": column["variant"]["golden_name"],
                **_engine(column["variant"]["engine"], column["variant"]["name"], batch),
                "digest": column["variant"]["digest"],
                "patch_set": column["patch_set_id"],
                "kernel": _kernel_of(bases[column["patch_set_id"]]),
                "href": f"?base={index}" + (f"&trace={place.trace}" if place.trace else ""),
            }
            for index, column in enumerate(batch["columns"])
        ],
        "command": shlex.join(document["command"]),
    }


def _paging(document: Mapping[str, Any], place: Place, numbers: Sequence[int]) -> dict[str, Any]:
    """The traces on this page, and links to the others."""
    cursor = document["next_cursor"]
    return {
        "only": document["comparisons"][0]["trace"]["name"] if place.trace else None,
        "whole": place.query(trace=None, cursor=None),
        "first": min(numbers, default=0),
        "last": max(numbers, default=0),
        "previous": f"{place.query(cursor=None)}#traces" if place.cursor else None,
        "next": f"{place.query(cursor=cursor)}#traces" if cursor else None,
    }


def _going_on(batch: BatchDocument) -> dict[str, Any] | None:
    """The possible action on a batch: the request, its effect, and the button's text.

    None where no action can help, as where engines refuse all that failed.
    """
    progress, path = batch["progress"], f"POST /api/v1/batches/{batch['code']}"
    if batch["state"] not in _FINAL_STATES:
        return {"name": "cancel", "button": "Cancel this batch"}
    if batch["is_stale"] or batch["state"] == "done":
        return None
    if batch["retryable_count"]:
        runs = counted(batch["retryable_count"], "failed run")
        return {
            "name": "retry",
            "button": f"Retry {runs}",
            "command": f"{path}/retry",
            "what": f"runs the {runs} again",
        }
    if not progress["cancelled"]:
        return None
    return {
        "name": "resume",
        "button": "Resume this batch",
        "command": f"{path}/resume",
        "what": "resumes it",
    }


def _engine(engine: str, variant_name: str, batch: BatchDocument) -> dict[str, Any]:
    """What made the numbers of a column; ``engine`` is empty where all are the model's."""
    word = engine_word(engine)
    is_model = engine == SHADOW
    shown = "" if is_model and not _has_engines(batch) else word
    return {
        # The label of such a column names a patch; its variant names the kernel.
        "engine": f"{word} · {variant_name}" if engine == KERNEL else shown,
        "engine_word": word,
        "is_model": is_model,
        "real_code": "it is the real code" if engine == KERNEL else "–",
    }


def _kernel_of(base: str) -> str | None:
    """The name of the kernel that a patch set is on; it may be deleted by now."""
    engine, colon, name = base.partition(":")
    return name if colon and engine == KERNEL else None


def _has_engines(batch: BatchDocument) -> bool:
    """Whether a column is of another engine than the model."""
    return any(name != SHADOW for name in batch["simulators"])


def _trace(
    comparison: Mapping[str, Any],
    anchor: str,
    place: Place,
    batch: BatchDocument,
    *,
    is_running: bool,
) -> dict[str, Any]:
    columns = comparison["columns"]
    verdicts = [shown(column["verdict"]["name"]) for column in columns]
    changed = [row for row in comparison["counters"] if not row["is_same"]]
    trace = comparison["trace"]
    # Not while cells are missing: it would be redrawn for each.
    is_whole = all(column["state"] not in _WAITING_STATES for column in columns)
    is_charted = bool(changed) and is_whole
    is_crowded = cell_count(comparison) > CELLS_MAX
    query = place.query(trace=trace["digest"], cursor=None, costs=None)
    # No engine but these keeps its state where it can be looked at.
    texts = {
        column["variant"]["digest"]: column["variant"]["text"]
        for column in batch["columns"]
        if column["variant"]["engine"] in INSPECTED
    }
    return {
        "anchor": anchor,
        "name": trace["name"],
        "digest": trace["digest"],
        "facts": _facts(trace),
        "notes": comparison["notes"],
        "checked": comparison["semantics_note"],
        "columns": [
            {
                "label": column["label"],
                "run": f"/batches/{batch['code']}/cell?"
                + urlencode({"trace": trace["digest"], "variant": column["variant_digest"]}),
                "golden_name": column["golden_name"],
                **_engine(column["engine"], column["variant_names"][0], batch),
                "verdict": verdict,
            }
            for column, verdict in zip(columns, verdicts, strict=True)
        ],
        "groups": _groups(comparison, changed),
        "unchanged": [
            {"name": row["name"], "value": grouped(row["values"][0])}
            for row in comparison["counters"]
            if row["is_same"] and row["values"][0] is not None
        ],
        "reasons": [
            {"label": column["label"], "verdict": verdict, "text": column["reason"]}
            for column, verdict in zip(columns, verdicts, strict=True)
            # No reason is shown for a queued cell.
            if column["reason"] and not (is_running and verdict == _MISSING)
        ],
        "findings": [
            found for column in columns if (found := _findings(column, trace["digest"], texts))
        ],
        "audit": audit_of(comparison, texts),
        "costs": costs_of(comparison),
        "chart": f"{place.address}.svg{query}" if is_charted and not is_crowded else None,
        "no_chart": f"No chart: it would have more than {grouped(CELLS_MAX)} cells. The table "
        "above has the numbers."
        if is_charted and is_crowded
        else None,
    }


def _facts(trace: Mapping[str, Any]) -> list[str]:
    named = (
        ("event_count", "events"),
        ("operation_count", "operations"),
        ("instruction_count", "guest instructions"),
    )
    return [f"{grouped(trace[key])} {noun}" for key, noun in named if trace[key] is not None]


def _groups(
    comparison: Mapping[str, Any], changed: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The table's groups of rows: what the guest saw, then costs, then the other counters."""
    columns = comparison["columns"]
    costs = [row for row in changed if row["is_cost"]]
    others = [row for row in changed if not row["is_cost"]]
    groups = [
        {
            "title": "What the guest saw",
            "is_words": True,
            "rows": [_outcome_row(columns), *_semantics_rows(comparison["semantics"])],
        },
        {
            "title": "Host work, less is better",
            "is_words": False,
            "rows": [_counter_row(row, is_cost=True) for row in costs],
        },
        {
            "title": "Other counters",
            "is_words": False,
            "rows": [_counter_row(row, is_cost=False) for row in others],
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
    return {"name": "All outcomes", "cells": cells}


def _semantics_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The disagreements with the real guest; one row of zeros if there are none."""
    wrong = [row for row in rows if row["name"] in WRONG]
    found = [row for row in wrong if any(row["values"])]
    if not found and wrong:
        return [_semantics_row("Wrong outcomes", wrong[0]["values"])]
    return [_semantics_row(WRONG[row["name"]].capitalize(), row["values"]) for row in found]


def _semantics_row(name: str, values: Sequence[int | None]) -> dict[str, Any]:
    cells = [Cell(grouped(value), is_quiet=not value, is_wrong=bool(value)) for value in values]
    return {"name": name, "cells": cells}


def _counter_row(row: Mapping[str, Any], *, is_cost: bool) -> dict[str, Any]:
    cells = []
    numbers = zip(row["values"], row["changes"], row["percents"], row["notable"], strict=True)
    for place, (value, delta, percent, is_notable) in enumerate(numbers):
        if place == 0 or delta is None:
            cells.append(Cell(grouped(value)))
            continue
        # No colour below the threshold, nor where the guest saw something wrong.
        tone = ("more" if delta > 0 else "less") if is_cost and is_notable else ""
        if delta == 0:
            cells.append(Cell("=", is_quiet=True))
        else:
            cells.append(Cell(grouped(value), Change(change(delta, percent), tone)))
    return {"name": row["name"], "cells": cells}


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


def _overview(
    overview: Mapping[str, Any], place: Place, anchors: Mapping[str, str]
) -> dict[str, Any]:
    """The table of all verdicts: per trace its distinct verdicts, and each column's index."""
    rows = []
    for trace in overview["traces"]:
        kinds = list(dict.fromkeys(trace["verdicts"]))
        places = {kind: number for number, kind in enumerate(kinds)}
        rows.append(
            {
                "name": trace["name"],
                "href": place.of_trace(trace["digest"], anchors),
                "kinds": [shown(kind) for kind in kinds],
                "places": [places[verdict] for verdict in trace["verdicts"]],
            }
        )
    return {"labels": [column["label"] for column in overview["columns"]], "rows": rows}


_MISSING = shown("missing")

"""The batch page, from the API's comparison document.

The document has numbers and names; here they become cells, sentences and
anchors. No numbers are computed here.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from refault.client import BatchDocument
from refault.compare.titles import heading
from services.dashboard.arrangement import indexed, ordered, rearranged
from services.dashboard.audits import audits_of, is_auditing
from services.dashboard.columns import chooser_of, columns_of, has_engines
from services.dashboard.conclusion import conclusion
from services.dashboard.costs import form_of
from services.dashboard.formats import counted
from services.dashboard.heat import heat_of
from services.dashboard.notes import Pins
from services.dashboard.place import Place
from services.dashboard.plan_view import pairs_of, plan_of
from services.dashboard.trace_section import section_of

_FINAL_STATES = ("done", "failed", "cancelled")


def page_of(document: Mapping[str, Any], place: Place, pins: Pins) -> dict[str, Any]:
    """Everything the template of the batch page needs; ``pins`` are marks of notes."""
    batch, overview = document["batch"], document["overview"]
    comparisons = document["comparisons"]
    is_running = batch["state"] not in _FINAL_STATES
    # No verdict is final before the audits are in.
    is_live = is_running or is_auditing(batch)
    numbers = {trace["digest"]: number for number, trace in enumerate(overview["traces"], 1)}
    shown_digests = [entry["trace"]["digest"] for entry in comparisons]
    anchors = {digest: f"trace-{numbers[digest]}" for digest in shown_digests}
    progress = batch["progress"]
    events_total = progress.get("events_total") or 0
    indexes = indexed(batch["columns"], overview["columns"])
    digests = ordered(place.arrangement, overview, batch["columns"])
    columns = columns_of(batch, place, digests)
    return {
        "title": batch["title"]
        or heading([entry["name"] for entry in batch["patch_sets"]], batch["plan"]),
        "verdict": conclusion(
            document, lambda digest: place.of_trace(digest, anchors), is_running=is_live
        ),
        "is_running": is_running,
        "is_live": is_live,
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
        "has_engines": has_engines(batch),
        "is_stale": batch["is_stale"],
        "audits": audits_of(batch),
        "costs": form_of(document, place),
        "alarms": counted(batch["integrity_alarms"], "cell") if batch["integrity_alarms"] else "",
        "going_on": _going_on(batch),
        "is_other_base": place.base > 0,
        "query": place.form_query().removesuffix("?"),
        "plan": plan_of(document, place, anchors),
        "pairs": pairs_of(document),
        "heat": heat_of(overview, digests, indexes, place, anchors, pins),
        "traces": [
            section_of(
                rearranged(entry, digests), indexes, place, batch, anchor=anchors[digest], pins=pins
            )
            for digest, entry in zip(shown_digests, comparisons, strict=True)
        ],
        **_paging(document, place, [numbers[digest] for digest in shown_digests]),
        "columns": columns,
        "chooser": chooser_of(place, columns),
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

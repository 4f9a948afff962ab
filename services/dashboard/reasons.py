"""Why each cell of a trace has its verdict; of a red one also where to look, and what to do."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from services.dashboard.formats import with_minus
from services.dashboard.verdicts import Shown

# States of a run that can be run again: it failed, or the simulator crashed, which is a result.
_AGAIN = ("failed", "crashed")


class Judged(NamedTuple):
    """A column of a trace with its verdict; ``anchor`` is the place of its reason on the page.

    ``run`` is the address that leads to its run, by the digests of trace and variant.
    """

    column: Mapping[str, Any]
    verdict: Shown
    anchor: str
    run: str


def reasons_of(
    judged: Sequence[Judged], audited: Collection[str], anchor: str, *, may_run_again: bool
) -> list[dict[str, Any]]:
    """Each reason once, with all columns whose verdict has it.

    ``audited`` are the digests of the variants with a failed check, ``anchor`` the section's.
    """
    told: dict[tuple[Shown, str], list[dict[str, Any]]] = {}
    for each in judged:
        is_red = each.verdict.tone == "alarm"
        if not each.column["reason"] and not is_red:
            continue
        cell: dict[str, Any] = {
            "label": each.column["label"],
            "id": None,
            "links": [],
            "again": None,
            "is_refused": bool(each.column.get("refusal")),
        }
        if is_red:
            # Where a red cell of the matrix leads.
            cell["id"] = each.anchor
            cell["links"] = _links(each, audited, anchor)
            cell["again"] = _again(each) if may_run_again else None
        told.setdefault((each.verdict, each.column["reason"]), []).append(cell)
    return [
        {
            "label": ", ".join(cell["label"] for cell in cells),
            "cells": cells,
            "verdict": verdict,
            "text": with_minus(text),
        }
        for (verdict, text), cells in told.items()
    ]


def _links(each: Judged, audited: Collection[str], anchor: str) -> list[dict[str, Any]]:
    """Where a red cell is explained: on this page, and on that of its run."""
    found = []
    if each.column["findings"] or each.column["stopped"]:
        findings = each.anchor.replace("-w", "-f")
        found.append({"title": "its findings", "href": f"#{findings}", "is_private": False})
    if each.column["variant_digest"] in audited:
        found.append(
            {"title": "its failed checks", "href": f"#{anchor}-audit", "is_private": False}
        )
    return [*found, {"title": "its run", "href": each.run, "is_private": True}]


def _again(each: Judged) -> str | None:
    """The query of the request that runs the cell again.

    None for one that has a result, and for one that no engine can replay.
    """
    state = each.column["state"]
    if state not in _AGAIN or each.column.get("refusal"):
        return None
    cell = urlsplit(each.run).query
    return f"{cell}&crashed=yes" if state == "crashed" else cell

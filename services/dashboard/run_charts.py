"""The charts of a run's page and the tables of the same numbers: timeline and attribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from refault.attribution import VIEWS as SPLITS
from refault.attribution import Attribution, TableLife
from refault.client import RunDocument
from refault.client.run_documents import RunDetailDocument
from refault.compare.attribution_chart import TITLES, counters_shown, parts_shown
from refault.compare.timelines import VIEWS
from services.dashboard.formats import difference, grouped

VIEW_WORDS = {
    "slice": "in each slice",
    "total": "in all until then",
    "difference": "difference to this run",
}


@dataclasses.dataclass(frozen=True)
class Course:
    """What the charts of a run's page show: its query."""

    beside: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    view: str = VIEWS[0]
    split: str = SPLITS[0]

    @property
    def is_default(self) -> bool:
        """Whether the timeline is the usual one."""
        return not self.beside and not self.counters

    def query(self, **changed: Any) -> str:
        """The query of this page with ``changed`` applied; defaults are omitted."""
        split = changed.get("split", self.split)
        pairs = [("split", split)] if split != SPLITS[0] else []
        return urlencode([*self._of_timeline(), *pairs])

    def _of_timeline(self) -> list[tuple[str, str]]:
        pairs = [("beside", each) for each in self.beside]
        pairs += [("counter", each) for each in self.counters]
        return pairs + ([("view", self.view)] if self.view != VIEWS[0] else [])

    @property
    def of_timeline(self) -> str:
        """The query of the timeline's address in the API."""
        return urlencode(self._of_timeline())


# --- timeline -----------------------------------------------------------------------------------


def timeline_of(run_id: str, found: Mapping[str, Any], course: Course) -> dict[str, Any]:
    """The timeline's chart, its table, and what else could be chosen."""
    address = f"/api/v1/runs/{run_id}/timeline"
    chosen = course.of_timeline
    # Differences are against the first run, whose own are zeros.
    first = 1 if course.view == "difference" else 0
    labels = found["labels"][first:]
    rows = [
        {
            "end": grouped(end),
            "cells": [
                _signed(found["values"][counter][line][place], course.view)
                for counter in found["counters"]
                for line in range(first, len(found["labels"]))
            ],
        }
        for place, end in enumerate(found["ends"])
    ]
    unit = found["unit"]
    return {
        "address": address,
        "query": f"?{chosen}" if chosen else "",
        "theme": f"?{chosen}&" if chosen else "?",
        "unit": unit if unit == "events" else "guest instructions",
        "counters": found["counters"],
        "labels": labels,
        "of": found["labels"][0],
        "rows": rows,
        "told": VIEW_WORDS[course.view],
        "choices": [
            {"name": name, "is_chosen": name in found["counters"]} for name in found["available"]
        ],
        "marks": [
            {
                "number": mark["number"],
                "name": mark["name"],
                "place": grouped(mark["instructions" if unit == "instructions" else "events"]),
                "event": grouped(mark["events"]),
            }
            for mark in found["marks"]
        ],
        "marks_left": found["mark_count"] - len(found["marks"]),
    }


def _signed(value: int | None, view: str) -> str:
    if view != "difference" or value is None:
        return grouped(value)
    return difference(value)


def beside_of(
    run: RunDetailDocument,
    siblings: Sequence[RunDocument],
    labels: Mapping[str, str],
    course: Course,
) -> list[dict[str, Any]]:
    """The runs that may stand beside this one: of its batch and trace, and those chosen."""
    others = [each for each in siblings if each["id"] != run["id"]]
    found = [
        {
            "id": each["id"],
            "label": labels.get(each["variant"]["digest"], each["variant"]["name"]),
            "is_chosen": each["id"] in course.beside,
        }
        for each in others
        if each["state"] in {"done", "cached"}
    ]
    known = {each["id"] for each in found}
    return found + [
        {"id": each, "label": f"run {each[:13]}", "is_chosen": True}
        for each in course.beside
        if each not in known
    ]


# --- attribution --------------------------------------------------------------------------------


def attribution_of(run_id: str, body: Mapping[str, Any], course: Course) -> dict[str, Any]:
    """The attribution's chart, and its tables."""
    found = Attribution.from_dict(body)
    counters = counters_shown(found)
    every = [name for name, total in found.totals.items() if total]
    parts = parts_shown(found.views.get(course.split, ()), every)
    return {
        "address": f"/api/v1/runs/{run_id}/attribution",
        "splits": [
            {
                "title": TITLES[name],
                "href": f"?{course.query(split=name)}#attribution",
                "is_chosen": name == course.split,
            }
            for name in SPLITS
            if name in found.views
        ],
        "title": TITLES[course.split],
        "counters": every,
        "is_charted": any(part.counters.get(name) for part in parts for name in counters),
        "rows": [
            {"name": part.name, "cells": [grouped(part.counters.get(name, 0)) for name in every]}
            for part in parts
        ],
        "totals": [grouped(found.totals[name]) for name in every],
        "tables": _lives(found),
        "table_count": grouped(found.table_count),
        "memory": _memory(found),
        "missing": [f"No {name}: {why}" for name, why in found.missing.items()],
    }


def _lives(found: Attribution) -> list[dict[str, Any]]:
    others = (
        ("pages of no guest table", found.direct),
        ("tables that found no room", found.other_tables),
    )
    rows = [(f"{table.gfn:#x}", table) for table in found.tables if table.gfn is not None]
    rows += [(name, life) for name, life in others if life is not None]
    return [{"name": name, "gfn": name if life.gfn is not None else None, **_life(life)}
            for name, life in rows]  # fmt: skip


def _life(life: TableLife) -> dict[str, Any]:
    numbers = (
        life.created, life.marked, life.synced, life.zapped, life.refaulted, life.written
    )  # fmt: skip
    return {"level": life.level or "–", "cells": [grouped(number) for number in numbers]}


def _memory(found: Attribution) -> dict[str, Any] | None:
    memory = found.memory
    if memory is None:
        return None
    headers = {sizes["x86-64"] for sizes in memory.header_bytes.values()}
    header = max(headers, default=0)
    return {
        "pages": grouped(memory.pages),
        "event": grouped(memory.pages_event),
        "unsync": grouped(memory.unsync_pages),
        "nodes": grouped(memory.list_nodes),
        "rows": [
            {
                "name": name,
                "count": grouped(count),
                "bytes": grouped(memory.bytes.get(name, header)),
            }
            for name, count in memory.structures.items()
        ],
        "total": grouped(sum(memory.bytes.values()) + header),
    }

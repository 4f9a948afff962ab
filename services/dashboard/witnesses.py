"""The answer of a verification: how many witnesses agree, and the first that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.dashboard.formats import grouped

_CLASSES = {
    "read": "reads",
    "write": "writes",
    "fetch": "instruction fetches",
    "fault": "page faults",
}


def verification(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of the document of ``refault verify --json``."""
    asked, agreed = answer["asked"], answer["agreed"]
    told = "its own page tables explain "
    told += (
        "every witness" if agreed == asked else f"{grouped(agreed)} of {grouped(asked)} witnesses"
    )
    return {
        "kind": "verification",
        "title": f"Good: {told}" if answer["is_good"] else f"Not good: {answer['complaint']}",
        "rows": [
            {
                "name": _CLASSES.get(name, name),
                "asked": grouped(each["asked"]),
                "agreed": grouped(each["agreed"]),
                "left": grouped(each["asked"] - each["agreed"]),
            }
            for name, each in answer["witnesses"].items()
        ],
        "first": [
            each | {"event": grouped(each["event_index"]), "who": _who(each)}
            for each in answer["first"]
        ],
    }


def _who(witness: Mapping[str, Any]) -> str:
    return (
        f"vCPU {witness['vcpu']}, {witness['name']}, {'user' if witness['is_user'] else 'kernel'}"
    )

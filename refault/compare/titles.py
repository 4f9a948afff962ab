"""Titles of the semantics rows and words for engines, shared by all forms of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from refault.results import SHADOW

WRONG: Final = {
    "wrong_address": "wrong address",
    "missed_fault": "missed fault",
    "spurious_fault": "spurious fault",
    "wrong_error_code": "wrong error code",
    "other": "other outcome",
    "stale": "of these, stale",
}
"""The disagreements with the guest, by name of the row."""

SEMANTICS: Final = {"accesses": "accesses", "witnessed": "witnessed", **WRONG}

ENGINES: Final = {SHADOW: "model", "walk": "architecture", "kernel": "kernel"}
"""What made the numbers of a column, where those of a comparison have several engines."""


_NAMES_MAX = 2


#: What a plan does to patch sets whose names alone would not say it.
PLANNED: Final = {"matrix": ", setting by setting"}


def heading(names: Sequence[str], plan: str) -> str:
    """The patch sets of a batch in one line: the first of them by name, the others by number."""
    if len(names) <= _NAMES_MAX:
        told = " and ".join(names)
    else:
        told = f"{', '.join(names[:_NAMES_MAX])} and {len(names) - _NAMES_MAX} more"
    return told + PLANNED.get(plan, "")


def engine_word(engine: str) -> str:
    """The word for an engine; its name where there is none."""
    return ENGINES.get(engine, engine)

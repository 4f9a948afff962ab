"""The shapes of answers about the catalogue and its words."""

from __future__ import annotations

from typing import TypedDict


class GroupDocument(TypedDict):
    """Words of one kind."""

    name: str
    title: str
    lead: str
    anchor: str


class EntryDocument(TypedDict):
    """A word and its meaning; ``anchor`` is its id on the page ``/help``."""

    name: str
    group: str
    text: str
    also: list[str]
    more: str
    anchor: str


class GlossaryDocument(TypedDict):
    """Words with their meaning, group by group."""

    groups: list[GroupDocument]
    items: list[EntryDocument]


class UsedColumnDocument(TypedDict):
    """A column with a patch or of a patch set; ``worst`` is the worst of its verdicts."""

    label: str
    patch_set: str
    patch_set_name: str
    patches: list[str]
    verdicts: dict[str, int]
    worst: str | None
    trace_name: str | None
    reason: str | None


class UseDocument(TypedDict):
    """A batch, and its columns with a patch or of a patch set."""

    code: str
    state: str
    plan: str
    created_at: str
    is_stale: bool
    is_judged: bool
    trace_names: list[str]
    trace_count: int
    columns: list[UsedColumnDocument]

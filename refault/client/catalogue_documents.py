"""The shapes of answers about the catalogue and its words."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from refault.client.documents import ParametersDocument, VariantDocument


class PatchDocument(TypedDict):
    """One patch of the catalogue."""

    id: str
    title: str
    author: str
    date: str
    summary: str
    claim: str
    objection: str
    fate: str
    knobs: dict[str, Any]
    requires: list[str]
    source: str
    short: str
    form_of: str | None
    reconstruction: str
    merged_in: dict[str, str]
    not_on: dict[str, str]
    layout: dict[str, Any] | None
    subjects: list[str]
    diff_ids: list[str]
    golden_names: list[str]
    # Not from services of before.
    files: NotRequired[list[str]]
    diffstat: NotRequired[dict[str, int] | None]
    is_merged: NotRequired[bool]
    changes: NotRequired[list[dict[str, Any]]]
    applies_to: NotRequired[list[str]]
    forms: NotRequired[list[dict[str, Any]]]
    conflicts: NotRequired[list[dict[str, Any]]]
    needed_by: NotRequired[list[str]]
    text: NotRequired[str | None]
    held_against: NotRequired[str | None]
    thread: NotRequired[dict[str, Any] | None]


class BaseDocument(TypedDict):
    """One base of the catalogue: the code a patch set is applied to."""

    id: str
    title: str
    date: str
    commit: str
    knobs: dict[str, Any]
    engine: str


class StoredDocument(TypedDict):
    """A patch set of the project, by its name."""

    id: str
    name: str


class NotationDocument(TypedDict):
    """What one line names; ``stored`` are patch sets that make the same machine."""

    text: str
    base: str
    patches: list[str]
    parameters: ParametersDocument
    variant: VariantDocument
    stored: list[StoredDocument]


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
    # Not from services of before.
    title: NotRequired[str]
    state: str
    plan: str
    created_at: str
    is_stale: bool
    is_judged: bool
    trace_names: list[str]
    trace_count: int
    columns: list[UsedColumnDocument]

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

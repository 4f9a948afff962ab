"""What the methods of ``Notes`` and ``AsyncNotes`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.client import calls

if TYPE_CHECKING:
    from refault.client.calls import Call
    from refault.client.documents import Page


def create_note(
    text: str,
    *,
    batch: str | None = None,
    trace: str | None = None,
    variant: str | None = None,
    patch: str | None = None,
) -> Call[dict[str, Any]]:
    """A note on a cell of a batch, or on a patch."""
    told = {"batch": batch, "trace": trace, "variant": variant, "patch": patch, "text": text}
    body = {name: value for name, value in told.items() if value is not None}
    return calls.ask("POST", ("notes",), body=body)


def list_notes(
    *,
    batch: str | None = None,
    trace: str | None = None,
    variant: str | None = None,
    patch: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[dict[str, Any]]]:
    """One page of notes, newest first."""
    query = {"batch": batch, "trace": trace, "variant": variant, "patch": patch}
    return calls.ask("GET", ("notes",), query=query | {"limit": limit, "cursor": cursor})


def list_note_places(batch: str | None = None) -> Call[Page[dict[str, Any]]]:
    """The patches, and the cells of a batch, that have notes, with how many."""
    return calls.ask("GET", ("notes", "places"), query={"batch": batch})


def change_note(note: str, text: str) -> Call[dict[str, Any]]:
    """Another text of a note."""
    return calls.ask("PATCH", ("notes", note), body={"text": text})


def delete_note(note: str) -> Call[None]:
    """Delete a note."""
    return calls.done("DELETE", ("notes", note))

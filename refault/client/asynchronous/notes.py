"""Notes on cells of batches and on patches."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, note_calls

if TYPE_CHECKING:
    from refault.client.documents import Page

AnswerT = TypeVar("AnswerT")


class AsyncNotes(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    async def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    async def create_note(
        self,
        text: str,
        *,
        batch: str | None = None,
        trace: str | None = None,
        variant: str | None = None,
        patch: str | None = None,
    ) -> dict[str, Any]:
        """Pin a note to a cell (batch, digest of the trace, digest of the variant) or a patch."""
        return await self._send(
            note_calls.create_note(text, batch=batch, trace=trace, variant=variant, patch=patch)
        )

    async def list_notes(
        self,
        *,
        batch: str | None = None,
        trace: str | None = None,
        variant: str | None = None,
        patch: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """One page of notes, newest first: of a batch or its cells, of a patch, or all.

        ``trace`` and ``variant`` are digests.
        """
        call = note_calls.list_notes(
            batch=batch, trace=trace, variant=variant, patch=patch, limit=limit, cursor=cursor
        )
        return await self._send(call)

    async def list_note_places(self, batch: str | None = None) -> Page[dict[str, Any]]:
        """The patches, and the cells of a batch, that have notes, with how many."""
        return await self._send(note_calls.list_note_places(batch))

    async def change_note(self, note: str, text: str) -> dict[str, Any]:
        """Another text of a note."""
        return await self._send(note_calls.change_note(note, text))

    async def delete_note(self, note: str) -> None:
        """Delete a note."""
        await self._send(note_calls.delete_note(note))

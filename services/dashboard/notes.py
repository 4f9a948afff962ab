"""Notes on pages of batches and of patches: one page of them, and their forms."""

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client import AsyncClient
from services.dashboard.doors import fields_of, onwards, way_on
from services.dashboard.pages import Pages

_LINES = frozenset({"text"})
# A note has 2,000 characters, of which each is at most four bytes, written as %F0%9F%90%9B.
_FORM_BYTES_MAX = 32 * 1024
_SHOWN = 100
_CURSOR = "notes"


class NotePages:
    """The forms under ``/notes``; each leads back to the page it stands on."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/notes", self.make, methods=["POST"]),
            Route("/notes/{note}/edit", self.edit, methods=["POST"]),
            Route("/notes/{note}/delete", self.delete, methods=["POST"]),
        ]

    async def make(self, request: Request) -> Response:
        """Pins a note to a cell (batch, trace, variant) or to a patch."""
        fields = await fields_of(request, lines=_LINES, bytes_max=_FORM_BYTES_MAX)
        places = {
            name: fields[name]
            for name in ("batch", "trace", "variant", "patch")
            if fields.get(name)
        }
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.create_note(_text(fields), **places)
        return _back(fields)

    async def edit(self, request: Request) -> Response:
        """Changes its text."""
        fields = await fields_of(request, lines=_LINES, bytes_max=_FORM_BYTES_MAX)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.change_note(request.path_params["note"], _text(fields))
        return _back(fields)

    async def delete(self, request: Request) -> Response:
        """Deletes it."""
        fields = await fields_of(request)
        async with self._pages.client(request, form_key=fields.get("form_key", "")) as client:
            await client.delete_note(request.path_params["note"])
        return _back(fields)


async def notes_of(client: AsyncClient, request: Request, **place: str) -> dict[str, Any]:
    """What notes.html shows of a batch or a patch: one page of notes, newest first.

    ``?notes=`` is where the page begins; the links to the others keep the rest of the query.
    """
    query = request.query_params
    found = await client.list_notes(**place, limit=_SHOWN, cursor=query.get(_CURSOR))
    kept = [(name, text) for name, text in query.multi_items() if name != _CURSOR]
    older = found["next_cursor"]
    return {
        "notes": found["items"],
        "notes_older": older and f"?{urlencode([*kept, (_CURSOR, older)])}#notes",
        "notes_newest": f"?{urlencode(kept)}#notes" if query.get(_CURSOR) else None,
    }


def _text(fields: dict[str, str]) -> str:
    text = fields.get("text", "").strip()
    if not text:
        raise HTTPException(422, "text: an empty note is none; delete it instead")
    return text


def _back(fields: dict[str, str]) -> Response:
    return onwards(f"{way_on(fields.get('back', '/')).partition('#')[0]}#notes")

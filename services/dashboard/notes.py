"""Notes on cells and patches: their marks where they are pinned, one page of them, their forms."""

from collections.abc import Mapping
from typing import Any, NamedTuple
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
# Of a digest and of a column's index in an address.
_DIGEST, _DIGITS = 16, 5


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


class Pins(NamedTuple):
    """Where there are notes: on how many a cell (trace, variant) or a patch has.

    ``key`` tells two of them apart.
    """

    cells: Mapping[tuple[str, str], int]
    patches: Mapping[str, int]

    @property
    def key(self) -> tuple[tuple[Any, int], ...]:
        """The same as something that can be held against another."""
        return (*self.cells.items(), *self.patches.items())


NO_PINS = Pins({}, {})


async def pins_of(client: AsyncClient, batch: str | None = None) -> Pins:
    """The patches with notes, and the cells of a batch."""
    found = (await client.list_note_places(batch))["items"]
    cells = {
        (each["trace"], each["variant"]): each["note_count"] for each in found if each["trace"]
    }
    patches = {each["patch"]: each["note_count"] for each in found if each["patch"]}
    return Pins(cells, patches)


class PinnedOn(NamedTuple):
    """A cell of a batch whose notes a page shows."""

    batch: str
    trace: str
    variant: str
    label: str
    trace_name: str


def cell_of(text: str, batch: Mapping[str, Any]) -> PinnedOn | None:
    """The cell that ``?on=`` names: the beginning of a trace's digest, a dot, a column's index."""
    digest, _, number = text.partition(".")
    traces = [trace for trace in batch["traces"] if trace["digest"].startswith(digest)]
    columns = batch["columns"]
    is_index = number.isascii() and number.isdecimal() and len(number) <= _DIGITS
    if not digest or len(traces) != 1 or not is_index or int(number) >= len(columns):
        return None
    column = columns[int(number)]
    return PinnedOn(
        batch["code"],
        traces[0]["digest"],
        column["variant"]["digest"],
        column["label"],
        traces[0]["name"],
    )


def cell_query(trace: str, index: int) -> str:
    """The value of ``?on=`` for a cell."""
    return f"{trace[:_DIGEST]}.{index}"


async def notes_of(
    client: AsyncClient, request: Request, on: PinnedOn | None = None, **place: str
) -> dict[str, Any]:
    """What notes.html shows of a batch, a cell or a patch: one page of notes, newest first.

    ``?notes=`` is where the page begins; the links to the others keep the rest of the query.
    """
    query = request.query_params
    if on is not None:
        place |= {"batch": on.batch, "trace": on.trace, "variant": on.variant}
    found = await client.list_notes(**place, limit=_SHOWN, cursor=query.get(_CURSOR))
    kept = [(name, text) for name, text in query.multi_items() if name != _CURSOR]
    rest = [(name, text) for name, text in kept if name != "on"]
    older = found["next_cursor"]
    return {
        "notes": found["items"],
        "notes_on": on,
        "notes_all": f"?{urlencode(rest)}#notes",
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

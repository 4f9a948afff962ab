"""``refault note``: notes on cells of batches and on patches, seen by the whole project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli import names
from refault.cli.operands import run_of
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean
from refault.errors import InvalidRequest

if TYPE_CHECKING:
    from refault.client import Client

app = typer.Typer(
    name="note",
    help="Notes on cells of batches and on patches.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WithText = Annotated[str, typer.Argument(help="The text.", metavar="TEXT", show_default=False)]
WithNote = Annotated[str, typer.Argument(help="Id of a note.", metavar="NOTE", show_default=False)]
WithPatch = Annotated[bool, typer.Option("--patch", help="PLACE is the id of a patch.")]


@app.command("add")
def add_note(
    place: Annotated[
        str,
        typer.Argument(
            help="BATCH/TRACE/COLUMN; with --patch the id of a patch.",
            metavar="PLACE",
            show_default=False,
        ),
    ],
    text: WithText,
    *,
    patch: WithPatch = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Pin a note to a cell of a batch, or to a patch; it also ends the batch's .txt and .md.

    Example: refault note add b-7k3f/linux61-boot-1cpu/1-3 "the missed faults are known"
    """
    with connect(url, token, timeout) as client:
        if patch:
            found = client.create_note(text, patch=place)
        else:
            batch = place.partition("/")[0]
            run = run_of(client, place)
            found = client.create_note(
                text, batch=batch, trace=run["trace_digest"], variant=run["variant"]["digest"]
            )
    _show([found], as_json=as_json)


@app.command("list")
def list_notes(
    place: Annotated[
        str | None,
        typer.Argument(
            help="Code of a batch; with --patch the id of a patch; default: all of the project.",
            metavar="PLACE",
            show_default=False,
        ),
    ] = None,
    *,
    patch: WithPatch = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List notes, newest first.

    Example: refault note list b-7k3f
    """
    if patch and place is None:
        raise InvalidRequest("--patch: which one? refault note list ID --patch")
    with connect(url, token, timeout) as client:
        found = list(names.all_of(lambda **page: _page(client, place, patch=patch, **page)))
    _show(found, as_json=as_json)


@app.command("edit")
def edit_note(
    note: WithNote,
    text: WithText,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Change the text of a note of one's own; a maintainer any.

    Example: refault note edit 01900000-0000-7000-8000-000000000001 "mended by patch 6"
    """
    with connect(url, token, timeout) as client:
        found = client.change_note(note, text)
    _show([found], as_json=as_json)


@app.command("delete")
def delete_note(
    note: WithNote,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Delete a note of one's own; a maintainer any.

    Example: refault note delete 01900000-0000-7000-8000-000000000001
    """
    with connect(url, token, timeout) as client:
        client.delete_note(note)
    if as_json:
        print_json({"deleted": note})
        return
    print(f"deleted {note}")


def _page(client: Client, place: str | None, *, patch: bool, **page: Any) -> Any:
    if patch:
        return client.list_notes(patch=place, **page)
    return client.list_notes(batch=place, **page)


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for note in found:
        place = note["patch"] or f"{note['batch']}: {note['column']} on {note['trace_name']}"
        by = (note["made_by"] or "somebody").removeprefix("user ")
        print(f"{note['id']}  {clean(place)}  ({clean(by)}, {note['created_at'][:10]})")
        for line in note["text"].splitlines():
            print(f"  {clean(line)}")

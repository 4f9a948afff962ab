"""``refault traces``: what the service holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from refault.cli import names, tables
from refault.cli.progress import progress_bars
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean
from refault.errors import InvalidRequest
from refault.trace import SUFFIX

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

traces = typer.Typer(help="Traces of the service.", no_args_is_help=True, rich_markup_mode=None)


@traces.command("list")
def list_traces(
    *,
    limit: Annotated[int, typer.Option(help="Maximum number.", min=1)] = 50,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List traces, newest first.

    Example: refault traces list --limit 10
    """
    with connect(url, token, timeout) as client:
        found = list(names.all_of(client.list_traces, limit=limit))
    if as_json:
        print_json(found)
        return
    tables.show(
        ("digest", "name", "mode", "vcpus", "events", "bytes", "created"),
        [
            (
                trace["digest"][:12],
                trace["name"] + (" (truncated)" if trace["truncated"] else ""),
                trace["guest_mode"],
                trace["vcpu_count"],
                trace["event_count"],
                trace["size_bytes"],
                trace["created_at"][:16].replace("T", " "),
            )
            for trace in found
        ],
        right="vcpus events bytes",
    )


@traces.command("show")
def show_trace(
    trace: Annotated[
        str,
        typer.Argument(help="Name, digest or its beginning, id, or a file.", show_default=False),
    ],
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Show one trace with its header and its events by kind.

    Example: refault traces show linux61-boot-1cpu
    """
    with connect(url, token, timeout) as client:
        found = client.get_trace(names.trace(client, trace)["id"])
    if as_json:
        print_json(found)
        return
    kinds = found["events_by_kind"]
    for name, value in found.items():
        if name == "events_by_kind":
            for kind in sorted(kinds, key=lambda kind: -kinds[kind]):
                print(f"{'  ' + kind.lower():<20} {kinds[kind]}")
        elif name == "header":
            for key, entry in (found.get("header") or {}).items():
                print(f"{'  ' + key:<20} {clean(json.dumps(entry))}")
        else:
            print(f"{name:<20} {clean(str(value))}")


WithTrace = Annotated[
    str, typer.Argument(help="Name, digest or its beginning, id, or a file.", show_default=False)
]


@traces.command("edit")
def edit_trace(
    trace: WithTrace,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", help="A tag; all given replace those there are. May be repeated."),
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    note: Annotated[str | None, typer.Option(help="Another note; an empty one removes it.")] = None,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Change the name, the tags or the note of a trace; its bytes never change.

    Example: refault traces edit linux61-boot-1cpu --tag keep --note "booted with nopti"
    """
    told = {"name": name, "note": note, "tags": [] if no_tags else tags or None}
    changes = {key: value for key, value in told.items() if value is not None}
    if not changes:
        raise InvalidRequest("nothing to change: give --name, --tag, --no-tags or --note")
    with connect(url, token, timeout) as client:
        found = client.change_trace(names.trace(client, trace)["id"], **changes)
    if as_json:
        print_json(found)
        return
    for key in changes:
        shown = ", ".join(found[key]) if key == "tags" else found[key]
        print(f"{key:<6} {clean(str(shown)) or '–'}")


@traces.command("delete")
def delete_trace(
    trace: WithTrace,
    *,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Also delete the batches that have it.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete; without it, only what would go is shown.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Delete a trace for good, or show what would go with it.

    Example: refault traces delete linux61-boot-1cpu --cascade --yes
    """
    with connect(url, token, timeout) as client:
        found = client.delete_trace(
            names.trace(client, trace)["id"], cascade=cascade, dry_run=not yes
        )
    if as_json:
        print_json(found)
        return
    print(f"{'deleted' if found['deleted'] else 'would delete'}: {found['digest'][:12]}")
    print(f"  {found['size_bytes']:,} bytes, {found['run_count']:,} runs")
    for batch in found["batches"]:
        print(f"  batch {batch}, which has no other trace")
    for batch in found["shortened_batches"]:
        print(f"  batch {batch} keeps its other traces")
    if not found["deleted"]:
        print("nothing was deleted; add --yes")


@traces.command("download")
def download_trace(
    trace: WithTrace,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; default: NAME.rft here.", metavar="FILE"),
    ] = None,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Download a trace; its digest is checked, and an interrupted download is resumed.

    Example: refault traces download linux61-boot-1cpu -o boot.rft
    """
    with connect(url, token, timeout) as client, progress_bars(enabled=not as_json) as bars:
        found = names.trace(client, trace)
        plain = found["name"] if _PLAIN_NAME.fullmatch(found["name"]) else found["digest"][:12]
        target = output or Path(f"{plain}{SUFFIX}")
        task = bars.add_task(str(target), total=found["size_bytes"])
        client.download_trace(
            found["digest"],
            target,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if as_json:
        print_json({"file": str(target), "digest": found["digest"]})
        return
    print(f"{target}: {found['size_bytes']:,} bytes, {found['digest'][:12]}")

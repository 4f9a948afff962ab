"""``refault traces``: what the service holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from refault.cli import names, tables
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean

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

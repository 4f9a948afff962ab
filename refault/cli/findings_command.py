"""``refault findings``: what the results and audits of a project found, over all its traces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli import names, tables
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S

if TYPE_CHECKING:
    from refault.client.finding_calls import FindingGroupDocument, Wanted


def findings(
    text: Annotated[
        str, typer.Argument(help="Part of a kind or of a variant's name: F-U1, parent-stop.")
    ] = "",
    *,
    source: Annotated[
        str | None, typer.Option(help="`run`: seen in a replay; `audit`: a failed check.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only cells of that batch, by code.")] = None,
    known: Annotated[
        bool | None,
        typer.Option(
            "--known/--unknown",
            help="Only named defects of the real kernel of that time, or all but those.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Maximum number.", min=1)] = 20,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List what the project's results and audits found, by kind and variant, with the first place.

    The kind that most runs have comes first.

    Example: refault findings --unknown

    Example: refault findings F-U1 --json
    """
    wanted: Wanted = {"q": text or None, "source": source, "batch": batch, "known": known}
    with connect(url, token, timeout) as client:
        found = list(names.all_of(partial(client.list_findings, wanted), limit=limit))
    if as_json:
        print_json(found)
        return
    if not found:
        print("no findings")
        return
    tables.show(
        ("kind", "variant", "runs", "traces", "places", "first at", "of trace"),
        [_row(group) for group in found],
        right="runs traces places",
    )


def _row(group: FindingGroupDocument) -> tuple[object, ...]:
    first = group["first"]
    known = f" ({first['exception']})" if group["is_known"] else ""
    return (
        f"{group['kind']}{known}",
        group["variant"]["text"],
        group["cells"],
        group["traces"],
        f"{group['places']}{'' if group['is_all'] else '+'}",
        f"operation {first['operation_index']}",
        first["trace_name"] or first["trace_digest"][:12],
    )

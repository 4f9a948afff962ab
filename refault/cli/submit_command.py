"""``refault submit``: traces × patch sets, as a batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from refault.catalogue import patch_set_from_text, resolve
from refault.cli import names
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.watch_command import follow
from refault.client.calls import Plan
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean
from refault.errors import EmptyBatch, InvalidRequest

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client

PLANS = get_args(Plan)


def submit(
    traces: Annotated[
        list[str],
        typer.Argument(
            help="Names, digests or ids of traces on the service, or their files.",
            show_default=False,
        ),
    ],
    *,
    patches: Annotated[
        list[str],
        typer.Option(
            "--patches",
            "-p",
            help="A patch set as `replay --variant` takes it: patch ids joined by +, a base in "
            "front, parameters after commas.",
        ),
    ] = [],  # noqa: B006 - Typer copies it
    sets: Annotated[
        list[str], typer.Option("--set", "-s", help="Name or id of a patch set on the service.")
    ] = [],  # noqa: B006
    plan: Annotated[
        str, typer.Option(help=f"What becomes a column: {', '.join(PLANS)}.", metavar="PLAN")
    ] = "each",
    name: Annotated[
        str, typer.Option(help="Name of the patch set of --patches; default: its text.")
    ] = "",
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Run again what is known; an alarm if it differs.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch it; ends with the verdict and its exit code.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Submit a batch: every trace under every patch set.

    What is known already is not computed again. A request that has to be sent twice makes one
    batch.

    Example: refault submit linux61-boot-1cpu --patches series --plan series --wait
    """
    if plan not in PLANS:
        raise InvalidRequest(f"--plan {plan}: there are {', '.join(PLANS)}")
    _check(patches, sets, name)
    with connect(url, token, timeout) as client:
        trace_ids = list(dict.fromkeys(names.trace(client, word)["id"] for word in traces))
        set_ids = [_made(client, text, name)["id"] for text in patches]
        set_ids += [names.patch_set(client, word)["id"] for word in sets]
        batch = client.submit_batch(
            trace_ids,
            list(dict.fromkeys(set_ids)),
            plan=plan,  # type: ignore[arg-type]
            recompute=recompute,
        )
        if not (as_json and wait):
            _show(client, batch, as_json=as_json)
        if wait:
            raise typer.Exit(follow(client, batch["code"], as_json=as_json))


def _check(patches: list[str], sets: list[str], name: str) -> None:
    """Refuse what cannot be before anything is asked of the service."""
    if not patches and not sets:
        raise EmptyBatch("nothing to run: name a patch set by --patches or --set")
    if name and len(patches) != 1:
        raise InvalidRequest("--name names one patch set: give one --patches")
    for text in patches:
        resolve(patch_set_from_text(text))


def _made(client: Client, text: str, name: str) -> Any:
    """The patch set of a text; the one that is there if there is one of that name and content."""
    wanted = patch_set_from_text(text)
    return client.create_patch_set(
        name or text,
        base=wanted.base,
        patches=wanted.patches,
        parameters=wanted.parameters.to_dict(),  # type: ignore[arg-type]
    )


def _show(client: Client, batch: BatchDocument, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(batch, indent=2))
        return
    progress = batch["progress"]
    print(
        f"{batch['code']}: {batch['state']}, {progress['total']} runs, "
        f"{progress['cached']} of them known"
    )
    if batch.get("notice"):
        print(clean(str(batch["notice"])))
    print(f"{client.base_url}{batch['links']['page']}", flush=True)

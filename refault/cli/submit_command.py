"""``refault submit``: traces × patch sets, as a batch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from refault.catalogue import patch_set_from_text, resolve
from refault.cli import names
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.cli.watch_command import follow
from refault.client.calls import Plan
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean
from refault.errors import EmptyBatch, InvalidRequest

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client, EstimateDocument

PLANS = get_args(Plan)


WithPatches = Annotated[
    list[str],
    typer.Option(
        "--patches",
        "-p",
        help="A patch set as `replay --variant` takes it: patch ids joined by +, a base in "
        "front, parameters after commas.",
    ),
]
WithSets = Annotated[
    list[str], typer.Option("--set", "-s", help="Name or id of a patch set on the service.")
]
WithAxes = Annotated[
    list[str],
    typer.Option(
        "--axis",
        help="Plan matrix: NAME=VALUE,VALUE of base, page_limit, bypass, host_page_level or "
        "tlb; `none` is no limit. May be repeated.",
    ),
]
WithTraces = Annotated[
    list[str],
    typer.Argument(
        help="Names, digests or ids of traces on the service, or their files.",
        show_default=False,
    ),
]


def submit(
    traces: WithTraces,
    *,
    patches: WithPatches = [],  # noqa: B006 - Typer copies it
    sets: WithSets = [],  # noqa: B006
    plan: Annotated[
        str, typer.Option(help=f"How columns are made: {', '.join(PLANS)}.", metavar="PLAN")
    ] = "each",
    name: Annotated[
        str, typer.Option(help="Name of the patch set of --patches; default: its text.")
    ] = "",
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Compute known results again; a difference raises an alarm."
        ),
    ] = False,
    axes: WithAxes = [],  # noqa: B006
    priority: Annotated[
        int | None, typer.Option(help="The highest number runs first.", min=0, show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print an estimate and start nothing.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch it; exit with the verdict's exit code.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Submit a batch: every trace under every patch set.

    Known results are not computed again. A dry run starts no batch, but creates the patch sets of
    --patches.

    Example: refault submit linux61-boot-1cpu --patches series --plan series --wait
    """
    if plan not in PLANS:
        raise InvalidRequest(f"--plan {plan}: expected one of {', '.join(PLANS)}")
    _check(patches, sets, name)
    varied = _axes(axes)
    with connect(url, token, timeout) as client:
        trace_ids = list(dict.fromkeys(names.trace(client, word)["id"] for word in traces))
        set_ids = [_made(client, text, name)["id"] for text in patches]
        set_ids += [names.patch_set(client, word)["id"] for word in sets]
        told: dict[str, Any] = {
            "plan": plan,
            "axes": varied,
            "priority": priority,
            "recompute": recompute,
        }
        set_ids = list(dict.fromkeys(set_ids))
        if dry_run:
            _show_estimate(client.estimate_batch(trace_ids, set_ids, **told), as_json=as_json)
            return
        batch = client.submit_batch(trace_ids, set_ids, **told)
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


def _axes(texts: list[str]) -> dict[str, list[Any]] | None:
    """What ``--axis`` varies: numbers, None for ``none``, words of ``base``."""
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values or name in axes:
            raise InvalidRequest(f"--axis {text}: expected NAME=VALUE,VALUE, each name once")
        axes[name.replace("-", "_")] = [_axis_value(name, value) for value in values.split(",")]
    return axes or None


def _axis_value(name: str, value: str) -> Any:
    if name == "base":
        return value
    if value == "none":
        return None
    if re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    raise InvalidRequest(f"--axis {name}: expected a number or none, got {value[:40]!r}")


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
        print_json(batch)
        return
    progress = batch["progress"]
    print(
        f"{batch['code']}: {batch['state']}, {progress['total']} runs, "
        f"{progress['cached']} of them known"
    )
    if batch.get("notice"):
        print(clean(str(batch["notice"])))
    print(f"{client.base_url}{batch['links']['page']}", flush=True)


def _show_estimate(estimate: EstimateDocument, *, as_json: bool) -> None:
    if as_json:
        print_json(estimate)
        return
    seconds = estimate["seconds"]
    print(
        f"{estimate['cells']} cells: {estimate['traces']} traces x "
        f"{len(estimate['columns'])} columns"
    )
    print(f"  {', '.join(map(clean, estimate['columns']))}")
    print(f"{estimate['cached']} known, {estimate['to_run']} to run in {estimate['shards']} shards")
    print(
        f"{estimate['events_to_replay']} events to replay, "
        f"{estimate['bytes_to_read']} bytes to read"
    )
    told = "time unknown" if seconds is None else f"about {seconds:.1f} s"
    print(f"{told} with {estimate['workers']} workers, {estimate['queued_ahead']} shards ahead")
    print(clean(estimate["basis"]))
    for refusal in estimate["refused"]:
        print(f"left out: {clean(refusal['label'])}: {clean(refusal['reason'])}")

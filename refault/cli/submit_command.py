"""``refault submit``: traces × patch sets, as a batch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from refault.audits import LEVELS
from refault.catalogue import (
    is_kernel,
    kernel_patches_by_number,
    patch_set_from_text,
    resolve,
)
from refault.cli import kernel_columns, kernel_estimate, names
from refault.cli.kernel_columns import Wish
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect, link_to
from refault.cli.service_kernels import WithMails, WithMailVersion, WithSanitizer
from refault.cli.terminal import print_json
from refault.cli.waiting import once_a_worker_is_ready
from refault.cli.watch_command import follow
from refault.client.calls import Plan
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean, counted
from refault.errors import EmptyBatch, InvalidRequest

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client, EstimateDocument, KernelDocument

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
        help="Plan matrix: NAME=VALUE,VALUE of base, page_limit, bypass, host_page_level, "
        "tlb or tdp; `none` is no limit. May be repeated.",
    ),
]
WithTraces = Annotated[
    list[str],
    typer.Argument(
        help="Names, digests or ids of traces on the service, or their files.",
        show_default=False,
    ),
]


WithKernel = Annotated[
    str,
    typer.Option(
        "--kernel",
        help="A tree or an archive of one, to be built on the service as `kernel push` does; or "
        "the name of a kernel that is there.",
        metavar="TREE|NAME",
        show_default=False,
    ),
]
WithKernelName = Annotated[
    str,
    typer.Option("--kernel-name", help="What to call the kernel of a tree.", show_default=False),
]
WithPlan = Annotated[
    str, typer.Option(help=f"How columns are made: {', '.join(PLANS)}.", metavar="PLAN")
]
WithName = Annotated[
    str, typer.Option(help="Name of the patch set of --patches; default: its text.")
]
WithRecompute = Annotated[
    bool,
    typer.Option("--recompute", help="Compute known results again; a difference raises an alarm."),
]
WithPriority = Annotated[
    int | None, typer.Option(help="The highest number runs first.", min=0, show_default=False)
]
WithDryRun = Annotated[bool, typer.Option("--dry-run", help="Print an estimate and start nothing.")]
WithAudit = Annotated[
    str | None,
    typer.Option(
        help="Check the invariants of every run: sampled, flush or every. Verdicts then say what "
        "a patch breaks and what it repairs.",
        metavar="LEVEL",
        show_default=False,
    ),
]
WithTitle = Annotated[
    str | None,
    typer.Option(help="What to call the batch; default: by its patch sets.", show_default=False),
]
WithWait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Watch it; exit with the verdict's exit code. Of a service that was just started "
        "also wait until its first worker has compiled the simulator.",
    ),
]


def submit(
    traces: WithTraces,
    *,
    patches: WithPatches = [],  # noqa: B006 - Typer copies it
    sets: WithSets = [],  # noqa: B006
    kernel: WithKernel = "",
    kernel_name: WithKernelName = "",
    mails: WithMails = [],  # noqa: B006
    mail_version: WithMailVersion = None,
    sanitize: WithSanitizer = False,
    plan: WithPlan = "each",
    name: WithName = "",
    recompute: WithRecompute = False,
    axes: WithAxes = [],  # noqa: B006
    priority: WithPriority = None,
    audit: WithAudit = None,
    title: WithTitle = None,
    dry_run: WithDryRun = False,
    wait: WithWait = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Submit a batch: every trace under every patch set.

    Known results are not computed again. A dry run starts no batch, but creates the patch sets of
    --patches; of a tree it says what would be compiled and replayed, and uploads nothing.

    With --kernel the service builds the MMU code of a tree of yours first, with the patches of
    --mail as the plan needs them; those that cannot be built are named with the reason and left
    out. The kernel as it is becomes the base, --patches and --set give columns beside it.

    Examples:
      refault submit linux61-boot-1cpu --patches series --plan series --wait

      refault submit linux61-boot-1cpu -p base -p p3 --audit flush --wait

      refault submit linux61-boot-1cpu --kernel ~/linux --mail my.mbox --plan series --wait

      refault submit linux61-boot-1cpu --kernel mine --plan each -p base
    """
    _check_words(plan, audit)
    wish = Wish(kernel, kernel_name, tuple(mails), mail_version, sanitize)
    wish.check(plan)
    _check(patches, sets, name, has_kernel=bool(kernel))
    told = _told(plan, axes, priority, recompute=recompute)
    with connect(url, token, timeout) as client:
        chosen = {found["id"]: found for found in (names.trace(client, word) for word in traces)}
        trace_ids = list(chosen)
        set_ids = [_made(client, text, name)["id"] for text in patches]
        set_ids += [names.patch_set(client, word)["id"] for word in sets]
        own = None
        if dry_run and wish.tree is not None:
            kernel_estimate.show_estimate(client, wish, chosen, set_ids, told, as_json=as_json)
            return
        if kernel:
            own = kernel_columns.built(client, wish, plan, dry_run=dry_run, enabled=not as_json)
            own_ids, told["plan"] = kernel_columns.sets_of(client, own, cast("Plan", plan))
            set_ids = own_ids + set_ids
        set_ids = list(dict.fromkeys(set_ids))
        if dry_run:
            _show_estimate(client.estimate_batch(trace_ids, set_ids, **told), as_json=as_json)
            return
        named = told | {"audit": audit, "title": title}
        batch = _submitted(client, trace_ids, set_ids, named, enabled=not as_json, waits=wait)
        if not (as_json and wait):
            _show(client, batch, own, as_json=as_json)
        if wait:
            raise typer.Exit(follow(client, batch["code"], as_json=as_json))


def _told(plan: str, axes: list[str], priority: Any, *, recompute: bool) -> dict[str, Any]:
    """What a batch and its estimate are told."""
    return {"plan": plan, "axes": _axes(axes), "priority": priority, "recompute": recompute}


def _submitted(
    client: Client,
    trace_ids: list[str],
    set_ids: list[str],
    told: dict[str, Any],
    *,
    enabled: bool,
    waits: bool,
) -> BatchDocument:
    """The batch; with ``waits`` also where a worker has to start first."""

    def ask() -> BatchDocument:
        return client.submit_batch(trace_ids, set_ids, **told)

    return once_a_worker_is_ready(client, ask, enabled=enabled) if waits else ask()


def _check_words(plan: str, audit: str | None) -> None:
    if plan not in PLANS:
        raise InvalidRequest(f"--plan {plan}: expected one of {', '.join(PLANS)}")
    if audit is not None and audit not in LEVELS[1:]:
        raise InvalidRequest(f"--audit {audit}: expected one of {', '.join(LEVELS[1:])}")


def _check(patches: list[str], sets: list[str], name: str, *, has_kernel: bool) -> None:
    """Refuse what cannot be before anything is asked of the service."""
    if not patches and not sets and not has_kernel:
        raise EmptyBatch("nothing to run: name a patch set by --patches or --set")
    if name and len(patches) != 1:
        raise InvalidRequest("--name names one patch set: give one --patches")
    for text in patches:
        wanted = patch_set_from_text(text)
        # Whether such a kernel is built with these patches, the service knows.
        if not is_kernel(wanted.base):
            resolve(wanted)


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
    wanted = kernel_patches_by_number(patch_set_from_text(text))
    return client.create_patch_set(
        name or text,
        base=wanted.base,
        patches=wanted.patches,
        parameters=wanted.parameters.to_dict(),  # type: ignore[arg-type]
    )


def _show(
    client: Client, batch: BatchDocument, own: KernelDocument | None, *, as_json: bool
) -> None:
    if as_json:
        print_json(batch if own is None else {**batch, "kernel": own})
        return
    if own is not None:
        print(f"{own['base']}: Linux {own['release']}, {client.base_url}/kernels/{own['name']}")
    progress = batch["progress"]
    print(
        f"{batch['code']}: {batch['state']}, {counted(progress['total'] or 0, 'run')}, "
        f"{progress['cached']:,} of them known"
    )
    if batch.get("notice"):
        print(clean(str(batch["notice"])))
    print(link_to(client, batch["code"]), flush=True)


def _show_estimate(estimate: EstimateDocument, *, as_json: bool) -> None:
    if as_json:
        print_json(estimate)
        return
    seconds = estimate["seconds"]
    print(
        f"{counted(estimate['cells'], 'cell')}: {counted(estimate['traces'], 'trace')} x "
        f"{counted(len(estimate['columns']), 'column')}"
    )
    print(f"  {', '.join(map(clean, estimate['columns']))}")
    print(
        f"{estimate['cached']:,} known, {estimate['to_run']:,} to run in "
        f"{counted(estimate['shards'], 'shard')}"
    )
    print(
        f"{counted(estimate['events_to_replay'], 'event')} to replay, "
        f"{counted(estimate['bytes_to_read'], 'byte')} to read"
    )
    told = "time unknown" if seconds is None else f"about {seconds:.1f} s"
    print(
        f"{told} with {counted(estimate['workers'], 'worker')}, "
        f"{counted(estimate['queued_ahead'], 'shard')} ahead"
    )
    print(clean(estimate["basis"]))
    for refusal in estimate["refused"]:
        print(f"left out: {clean(refusal['label'])}: {clean(refusal['reason'])}")

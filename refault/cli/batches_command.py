"""``refault batches``: list, show, cancel, resume and retry."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli import names, tables
from refault.cli.files import no_file
from refault.cli.operands import run_of
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import clean, counted
from refault.errors import Refused

if TYPE_CHECKING:
    from refault.client import BatchDocument, Client, RunDocument
    from refault.client.documents import BatchSummaryDocument

batches = typer.Typer(help="Batches of the service.", no_args_is_help=True, rich_markup_mode=None)

WithBatch = Annotated[str, typer.Argument(help="Code or id of the batch.", show_default=False)]


@batches.command("list")
def list_batches(
    *,
    limit: Annotated[int, typer.Option(help="Maximum number.", min=1)] = 20,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """List batches, newest first.

    Example: refault batches list --limit 5
    """
    with connect(url, token, timeout) as client:
        found = list(names.all_of(client.list_batches, limit=limit))
    if as_json:
        print_json(found)
        return
    tables.show(
        ("batch", "state", "runs", "plan", "traces", "title or patch sets", "created"),
        [
            (
                batch["code"],
                batch["state"],
                f"{batch['progress']['finished']}/{batch['progress']['total']}",
                batch["plan"],
                batch["trace_count"],
                batch.get("title") or _sets_of(batch),
                batch["created_at"][:16].replace("T", " "),
            )
            for batch in found
        ],
        right="runs traces",
    )


@batches.command("show")
def show_batch(
    batch: WithBatch,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Show the runs of a batch, each by the name `refault repro` takes.

    Example: refault batches show b-7k3f
    """
    with connect(url, token, timeout) as client:
        found = client.get_batch(no_file(batch))
        runs = list(names.all_of(partial(client.list_runs, found["code"])))
    if as_json:
        print_json({**found, "runs": runs})
        return
    _show(found, runs)


@batches.command("cancel")
def cancel_batch(
    batch: WithBatch,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Cancel the unfinished runs of a batch; results are kept.

    Example: refault batches cancel b-7k3f
    """
    with connect(url, token, timeout) as client:
        _tell(client.cancel_batch(no_file(batch)), as_json=as_json)


@batches.command("resume")
def resume_batch(
    batch: WithBatch,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Resume the cancelled runs of a batch.

    Example: refault batches resume b-7k3f
    """
    with connect(url, token, timeout) as client:
        _tell(client.resume_batch(no_file(batch)), as_json=as_json)


@batches.command("retry")
def retry_batch(
    batch: Annotated[
        str,
        typer.Argument(
            help="Code or id of the batch; BATCH/TRACE/COLUMN, or a run's id: that cell alone.",
            show_default=False,
        ),
    ],
    *,
    crashed: Annotated[
        bool, typer.Option("--crashed", help="Also the runs whose variant crashed.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Run the failed runs of a batch again, or one of them.

    Example: refault batches retry b-7k3f/linux61-boot-1cpu/1-3
    """
    with connect(url, token, timeout) as client:
        found = _retried(client, no_file(batch), crashed=crashed)
    _tell(found, as_json=as_json)


@batches.command("rename")
def rename_batch(
    batch: WithBatch,
    title: Annotated[
        str, typer.Argument(help="The title; empty: called by its patch sets.", show_default=False)
    ],
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Give a batch of one's own another title; a maintainer any.

    Example: refault batches rename b-7k3f "v3, on the big guests"
    """
    with connect(url, token, timeout) as client:
        found = client.change_batch(no_file(batch), title)
    _tell(found, as_json=as_json)


def _sets_of(batch: BatchSummaryDocument) -> str:
    names = ", ".join(patch_set["name"] for patch_set in batch["patch_sets"])
    return names + (", …" if batch["patch_set_count"] > len(batch["patch_sets"]) else "")


def _retried(client: Client, word: str, *, crashed: bool) -> BatchDocument:
    """The batch after what the word means is queued again: its id is a batch's or a run's."""
    if "/" not in word:
        try:
            return client.retry_batch(word, crashed=crashed)
        except Refused as refused:
            if refused.status != HTTPStatus.NOT_FOUND or not names.is_id(word):
                raise
    run = run_of(client, word)
    return client.retry_batch(
        str(run["batch_id"]),
        crashed=crashed,
        trace=run["trace_digest"],
        variant=run["variant"]["digest"],
    )


def _tell(batch: BatchDocument, *, as_json: bool) -> None:
    """Print the state of a batch after a request."""
    if as_json:
        print_json(batch)
        return
    progress = batch["progress"]
    print(f"{batch['code']}: {batch['state']}, ", end="")
    print(f"{progress['done']} of {counted(progress['total'] or 0, 'run')} done")


def _show(batch: BatchDocument, runs: list[RunDocument]) -> None:
    progress = batch["progress"]
    if batch.get("title"):
        print(clean(str(batch["title"])))
    print(f"{batch['code']}: {batch['state']}, plan {batch['plan']}, ", end="")
    print(f"{progress['finished']:,} of {progress['total'] or 0:,} runs finished")
    if progress["failed"]:
        print(f"{progress['failed']} failed, {batch['retryable_count']} of them can be retried")
    print(f"simulator {batch['simulator_digest'][:12]}")
    if batch.get("notice"):
        print(clean(str(batch["notice"])))
    print()
    traces = {trace["id"]: trace["name"] for trace in batch["traces"]}
    labels: dict[str, list[str]] = {}
    for column in batch["columns"]:
        labels.setdefault(column["variant"]["digest"], []).append(column["label"])
    tables.show(
        ("trace", "columns", "state", "run", "error"),
        [
            (
                traces.get(run["trace_id"], run["trace_digest"][:12]),
                " · ".join(labels.get(run["variant"]["digest"], [run["variant"]["name"]])),
                run["state"],
                run["id"],
                (run["error"] or "").strip().rpartition("\n")[2],
            )
            for run in runs
        ],
    )

"""``refault watch``: follow a batch to its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import typer

from refault.cli.files import no_file
from refault.cli.outcome import outcome_of
from refault.cli.progress import Bars, progress_bars
from refault.cli.service import WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_error, print_json
from refault.client import shapes
from refault.client.connection import TIMEOUT_S
from refault.client.documents import ProgressDocument
from refault.client.list_documents import StartingWorkerDocument
from refault.client.starting import starting_text
from refault.errors import Refused
from refault.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from refault.client import BatchEvent, Client


class _Event(TypedDict):
    """The part of a batch's event that is read."""

    state: str
    progress: ProgressDocument
    starting: NotRequired[list[StartingWorkerDocument]]


def watch(
    batch: Annotated[str, typer.Argument(help="Code or id of the batch.", show_default=False)],
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object per line: every event, then the verdict."),
    ] = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Watch a batch until it is over, then print its verdict.

    A batch with audits is over when these are. While workers compile the simulator, as they do the
    first time, it says how far they are. A lost connection is resumed. Exit code 0: nothing
    got worse; 1: the verdict is a regression or worse; 5: the batch ended without all its results.

    Example: refault watch b-7k3f
    """
    no_file(batch)
    with connect(url, token, timeout) as client:
        raise typer.Exit(follow(client, batch, as_json=as_json))


def follow(client: Client, batch: str, *, as_json: bool) -> int:
    """Show a batch until it is over; the exit code of its verdict.

    Without a terminal there is no progress, only the end.
    """
    try:
        with progress_bars(enabled=not as_json) as bars:
            task = bars.add_task(batch, total=None)
            for event in client.watch_batch(batch):
                if as_json:
                    _print_event(event)
                wrong = shapes.misfit(event.data, _Event, "event")
                if wrong is not None:
                    message = f"the events of {batch} cannot be used: {printable(wrong)}"
                    raise Refused(message, status=200, problem={})
                progress = event.data["progress"]
                done, total = _place(progress)
                text = f"{batch} {event.data['state']} {progress['finished']}/{progress['total']}"
                if event.data.get("starting"):
                    text += f" ({starting_text(event.data['starting'])})"
                bars.update(task, description=text, completed=done, total=total)
            _await_audits(client, batch, bars)
    except KeyboardInterrupt:
        print_error(
            f"the batch continues; `refault watch {batch}` follows it again, "
            f"`refault batches cancel {batch}` stops it"
        )
        raise
    outcome = outcome_of(client, batch)
    if as_json:
        print_json(outcome.to_dict(), indent=None)
    else:
        outcome.show()
    return outcome.exit_code


def _await_audits(client: Client, batch: str, bars: Bars) -> None:
    task: list[TaskID] = []

    def progress(done: int, total: int) -> None:
        if not task:
            task.append(bars.add_task(f"{batch} audits", total=total))
        bars.update(task[0], completed=done, total=total)

    client.wait_for_audits(batch, progress=progress)


def _print_event(event: BatchEvent) -> None:
    print_json({"event": event.event, "id": event.id, **event.data}, indent=None)


def _place(progress: ProgressDocument) -> tuple[float, float | None]:
    """The progress of the batch: by events if known, else by runs."""
    done, total = progress.get("events_done"), progress.get("events_total")
    if total:
        return done or 0, total
    return progress["finished"] or 0, progress["total"]

"""``refault push``: upload traces, resuming where an earlier push stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli.files import required
from refault.cli.progress import transfer_bars
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.errors import InvalidRequest
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.client.documents import Upload


def push(
    files: Annotated[list[Path], typer.Argument(help="Trace files (.rft).", show_default=False)],
    *,
    name: Annotated[
        str, typer.Option(help="Name of the trace; default: the file's.", show_default=False)
    ] = "",
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="May be repeated.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option(help="Kept with the trace.", show_default=False)] = "",
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = 60.0,
) -> None:
    """Upload traces; a trace the service has is not sent again.

    After Ctrl-C or a lost service, the same command resumes. Name, tags and note are set for new
    traces only.

    Example: refault push boot.rft --tag linux --note "6.1, 256 MiB"
    """
    if name and len(files) > 1:
        raise InvalidRequest("--name is for one trace: push the others separately")
    for file in files:
        required(file, Kind.TRACE)
    pushed: list[dict[str, object]] = []
    with connect(url, token, timeout) as client, transfer_bars(enabled=not as_json) as bars:
        for file in dict.fromkeys(files):
            task = bars.add_task(file.name, total=None)

            def advance(sent: int, total: int, task: object = task) -> None:
                bars.update(task, completed=sent, total=total)  # type: ignore[arg-type]

            upload = client.upload_trace(
                file, name=name or None, tags=tags or [], note=note, progress=advance
            )
            size = upload.trace["size_bytes"]
            bars.update(task, completed=size, total=size)
            pushed.append({"file": str(file), **_told(upload)})
            if not as_json:
                found = "already there" if upload.was_present else "uploaded"
                trace = upload.trace
                bars.say(f"{file}: {found} as {trace['name']}, sha256 {trace['digest'][:12]}")
    if as_json:
        print_json(pushed)


def _told(upload: Upload) -> dict[str, object]:
    kept = ("id", "digest", "name", "tags", "size_bytes", "event_count")
    told = {key: value for key, value in upload.trace.items() if key in kept}
    return {**told, "was_present": upload.was_present}

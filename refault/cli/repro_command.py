"""``refault repro``: one cell of a batch, replayed on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.cli.exits import ExitCode
from refault.cli.files import required
from refault.cli.operands import run_of
from refault.cli.progress import progress_bars, simulator_bars
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_error, print_json
from refault.client.connection import TIMEOUT_S
from refault.engines import get_engine
from refault.errors import NotATrace, ReplayRefused, ResultError
from refault.results import RunResult
from refault.trace import SUFFIX
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.client import Client, RunDocument

_COUNTED = ("counters", "semantics", "work")


def repro(
    cell: Annotated[
        str, typer.Argument(help="Id of a run, or BATCH/TRACE/COLUMN.", show_default=False)
    ],
    *,
    trace: Annotated[
        Path | None, typer.Option(help="The trace's file, if it is here; its digest is checked.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replay even with another simulator than the result's.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Replay one cell on this machine and compare the result's digest with the service's.

    The trace is downloaded once and cached; an interrupted download is resumed. Exit code 0: the
    same bytes; 1: different; the first counter that differs is named.

    Example: refault repro b-7k3f/linux61-boot-1cpu/1-6
    """
    from refault.replay.session import replay

    if trace:
        required(trace, Kind.TRACE)
    with connect(url, token, timeout) as client:
        run = run_of(client, cell)
        body = run.get("result")
        if body is None:
            print_error(f"run {run['id']} is {run['state']}: no result yet")
            raise typer.Exit(ExitCode.UNFINISHED)
        theirs = RunResult.from_dict(body)
        if theirs.trace_digest != run["trace_digest"]:
            raise ResultError(
                f"the result of run {run['id']} is of another trace than the run: "
                f"{theirs.trace_digest[:12]}, not {run['trace_digest'][:12]}"
            )
        ours = get_engine(theirs.engine).digest
        if ours != theirs.simulator_digest and not force:
            raise ReplayRefused(
                f"the result was made by simulator {theirs.simulator_digest[:12]}, here is "
                f"{ours[:12]}: check out the version that made it, or add --force"
            )
        variant = _variant(run)
        path = _given(trace, run) if trace else _fetched(client, run, quiet=as_json)
    with simulator_bars(enabled=not as_json) as bars:
        task = bars.add_task(f"replaying {variant.name}", total=None)

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total or None)

        (here,) = replay(path, [variant], progress=advance)
    differences = [
        entry
        for entry in _differences(theirs.to_dict(), here.to_dict())
        # Differing simulators were let through by --force; what they count is the question then.
        if entry[0] != "simulator_digest"
    ]
    stored = run.get("result_digest")
    if stored != theirs.digest:
        # The digest that the service keeps beside the result, and compares by, is not its own.
        differences.append(("result_digest", stored, theirs.digest))
    _show(run, theirs, here, differences, as_json=as_json)
    raise typer.Exit(ExitCode.ANSWER_IS_NO if differences else ExitCode.OK)


def _variant(run: RunDocument) -> Variant:
    """The variant of the run, as this catalogue resolves it; the digests must be equal."""
    text, digest = run["variant"]["text"], run["variant"]["digest"]
    variant = resolve(patch_set_from_text(text))
    if variant.digest != digest:
        raise ReplayRefused(
            f"{text} resolves to {variant.digest[:12]} here and to {digest[:12]} on the service: "
            "the catalogues differ; check out the version that made the result"
        )
    return variant


def _given(path: Path, run: RunDocument) -> Path:
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise NotATrace(f"{path}: cannot be read: {error.strerror}") from error
    if digest != run["trace_digest"]:
        raise NotATrace(
            f"{path} has the digest {digest[:12]}, the run's trace {run['trace_digest'][:12]}"
        )
    return path


def _fetched(client: Client, run: RunDocument, *, quiet: bool) -> Path:
    """The trace in the user's cache; its digest was checked when it came and is checked again."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(home).expanduser() / "refault" / "traces" / f"{run['trace_digest']}{SUFFIX}"
    if path.is_file():
        try:
            return _given(path, run)
        except NotATrace:
            path.unlink()
    with progress_bars(enabled=not quiet) as bars:
        task = bars.add_task("downloading", total=None)

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        client.download_trace(run["trace_digest"], path, progress=advance)
    return path


def _differences(theirs: dict[str, Any], here: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Places where two results differ: what is counted first, then everything else."""
    for name in dict.fromkeys((*_COUNTED, *theirs)):
        there, ours = theirs[name], here[name]
        if isinstance(there, dict) and isinstance(ours, dict):
            for key in dict.fromkeys((*there, *ours)):
                if there.get(key) != ours.get(key):
                    yield f"{name}.{key}", there.get(key), ours.get(key)
        elif there != ours:
            yield name, there, ours


def _show(
    run: RunDocument,
    theirs: RunResult,
    here: RunResult,
    differences: list[tuple[str, Any, Any]],
    *,
    as_json: bool,
) -> None:
    if as_json:
        document = {
            "run": run["id"],
            "same": not differences,
            "theirs": run.get("result_digest"),
            "here": here.digest,
            "differences": [
                {"place": place, "theirs": there, "here": ours}
                for place, there, ours in differences
            ],
        }
        print_json(document)
        return
    if not differences:
        but = "" if here.digest == theirs.digest else ", except for the simulator"
        print(f"same{but}: {here.digest}")
        return
    place, there, ours = differences[0]
    print(f"different: {str(run.get('result_digest'))[:12]} there, {here.digest[:12]} here")
    print(f"first difference: {place}: {there} there, {ours} here ({len(differences)} in all)")

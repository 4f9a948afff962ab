"""``refault import``: foreign captures and operation vectors become traces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from refault.errors import ImportFailed
from refault.trace import SUFFIX, TraceSummary
from refault.trace.importers.golden import import_golden
from refault.trace.importers.ptt import import_ptt

PTT = (".ptt", ".ptt.zst")
OPERATIONS = (".ops.jsonl", ".ops.jsonl.zst")


def import_trace(
    sources: Annotated[
        list[Path],
        typer.Argument(help=f"Files ending in {', '.join(PTT + OPERATIONS)}.", show_default=False),
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="Folder the traces are written to; made if missing.")
    ] = Path(),
    ram_mib: Annotated[
        int | None,
        typer.Option(help="Memory of a captured guest in MiB; a ptt file does not say.", min=1),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the trace; default: the file's.")] = "",
    level: Annotated[int, typer.Option(help="zstd level.", min=1, max=22)] = 19,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Turn captures and operation vectors into traces, losing nothing.

    Example: refault import linux61-boot-1cpu.ptt.zst --ram-mib 256 --out traces
    """
    if name and (len(sources) > 1 or Path(name).name != name):
        raise ImportFailed("--name names one trace and holds no slash; import others by themselves")
    targets = _targets(sources, out, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImportFailed(
            f"{out} cannot be made: {error.strerror}; choose another --out"
        ) from error
    summaries: list[dict[str, object]] = []
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=as_json or not console.is_terminal,
    ) as progress:
        for source, (target, is_capture) in targets.items():
            total = source.stat().st_size if source.exists() else None
            task = progress.add_task(source.name, total=total)

            def advance(done: int, task: object = task) -> None:
                progress.update(task, completed=done)  # type: ignore[arg-type]

            summary = _imported(source, target, is_capture, ram_mib, name, level, advance)
            summaries.append({"source": str(source), "trace": str(target), **_told(summary)})
            if not as_json:
                print(
                    f"{target}: {summary.event_count} events, {summary.size_bytes} bytes, "
                    f"sha256 {summary.digest[:12]}"
                )
    if as_json:
        print(json.dumps(summaries, indent=2))


def _targets(sources: list[Path], out: Path, name: str) -> dict[Path, tuple[Path, bool]]:
    """Where the trace of each source goes, and whether the source is a capture."""
    targets: dict[Path, tuple[Path, bool]] = {}
    for source in dict.fromkeys(sources):
        stem, is_capture = _recognised(source)
        target = out / f"{name or stem}{SUFFIX}"
        for other, (taken, _) in targets.items():
            if taken == target:
                raise ImportFailed(f"{other} and {source} would both become {target}; use --name")
        targets[source] = (target, is_capture)
    return targets


def _recognised(source: Path) -> tuple[str, bool]:
    """The file's name without its ending, and whether it is a capture."""
    for endings, is_capture in ((PTT, True), (OPERATIONS, False)):
        for ending in endings:
            if source.name.endswith(ending):
                return source.name.removesuffix(ending), is_capture
    raise ImportFailed(f"{source}: not one of {', '.join(PTT + OPERATIONS)}; rename or convert it")


def _imported(
    source: Path,
    target: Path,
    is_capture: bool,
    ram_mib: int | None,
    name: str,
    level: int,
    progress: Callable[[int], None],
) -> TraceSummary:
    if not is_capture:
        return import_golden(source, target, name=name, level=level, progress=progress)
    if ram_mib is None:
        raise ImportFailed(
            f"{source}: a ptt file does not say how much memory the guest has; add --ram-mib"
        )
    return import_ptt(source, target, ram_mib=ram_mib, name=name, level=level, progress=progress)


def _told(summary: TraceSummary) -> dict[str, object]:
    return {
        field.name: getattr(summary, field.name)
        for field in dataclasses.fields(summary)
        if field.name != "header"
    }

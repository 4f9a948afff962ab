"""``refault import``: foreign captures and operation vectors become traces."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from refault.cli.progress import Bars, compiling, transfer_bars
from refault.cli.terminal import print_json
from refault.cli.trace_files import STANDARD_INPUT, convert, importer_of, on_disk
from refault.errors import ImportFailed
from refault.printable import first_unprintable, printable
from refault.trace import SUFFIX, TraceSummary
from refault.trace.contents import PAGE_BYTES
from refault.trace.format import MAX_GFN
from refault.trace.importers.ptt import trace_name
from refault.trace.importers.recognition import READABLE, Kind, look
from refault.trace.importers.registry import Wanted

RAM_MIB_MAX = MAX_GFN * PAGE_BYTES >> 20
_FOLDER_FILES = 1 << 12  # that are looked at


def import_trace(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="ptt captures, operation vectors, host logs of KVM's tracepoints, and address "
            "streams (drmemtrace of DynamoRIO, lackey of valgrind, ChampSim), plain or compressed "
            "by zstd, gzip, xz or bzip2; of a folder all that can be imported; - is standard "
            "input. Their content says what they are.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the traces; created if missing.")] = Path(),
    ram_mib: Annotated[
        int | None,
        typer.Option(
            help="Memory of the guest in MiB: of the captured one, which a ptt file lacks; of the "
            "synthetic one that runs an address stream (default 1024).",
            min=1,
            max=RAM_MIB_MAX,
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the trace; default: the file's.")] = "",
    level: Annotated[int, typer.Option(help="zstd level.", min=1, max=22)] = 19,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Convert captures and operation vectors to traces, without loss, and address streams.

    An address stream has no page tables, so a synthetic guest runs it: real addresses, synthetic
    tables. What is lost stands in the header of the trace.

    Example: refault import linux61-boot-1cpu.ptt.zst --ram-mib 256 --out traces

    Example: refault import lackey.log drmemtrace.app.trace.zip
    """
    if name and (len(sources) > 1 or Path(name).name != name):
        raise ImportFailed("--name is for one trace and has no slash; import others separately")
    targets = _targets(_files_of(sources), out, name, set(sources))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImportFailed(
            f"{out} cannot be created: {error.strerror}; choose another --out"
        ) from error
    wanted = Wanted(ram_mib=ram_mib, level=level)
    for source in targets:
        if source != STANDARD_INPUT:
            importer_of(source, wanted)
    summaries: list[dict[str, object]] = []
    with transfer_bars(enabled=not as_json) as bars:
        for source, target in targets.items():
            task = bars.add_task(source.name, total=None)

            def advance(done: int, task: object = task) -> None:
                bars.update(task, completed=done)  # type: ignore[arg-type]

            with on_disk(source) as path:
                bars.update(task, total=path.stat().st_size if path.is_file() else None)
                said = dataclasses.replace(wanted, name=target.stem, progress=advance)
                summary = _converted(path, target, said, bars)
            summaries.append({"source": str(source), "trace": str(target), **_told(summary)})
            if not as_json:
                bars.say(
                    f"{target}: {summary.event_count:,} events, {summary.size_bytes:,} bytes, "
                    f"sha256 {summary.digest[:12]}"
                )
                for loss in summary.header.losses:
                    bars.say(f"  {printable(loss)}")
    if as_json:
        print_json(summaries)


def _converted(path: Path, target: Path, said: Wanted, bars: Bars) -> TraceSummary:
    importer = importer_of(path, said)
    # Only an address stream needs kernels: a synthetic guest runs it.
    is_run = importer.references is not None
    with compiling(bars, "the guest's kernels") if is_run else nullcontext():
        return convert(importer, path, target, said)


def _files_of(sources: list[Path]) -> list[Path]:
    """The sources, with the files that can be imported in place of a folder of them."""
    files: list[Path] = []
    for source in sources:
        if source == STANDARD_INPUT or look(source).kind not in {Kind.FOLDER, Kind.GOLDEN}:
            files.append(source)
            continue
        inside = sorted(path for path in source.iterdir() if path.is_file())
        found = [path for path in inside[:_FOLDER_FILES] if look(path).kind is Kind.IMPORTABLE]
        if not found and (source / "raw").is_dir():
            raise ImportFailed(
                f"{source}: this looks like a recording of DynamoRIO that was not converted; make "
                "its trace folder first: drraw2trace -indir FOLDER"
            )
        if not found:
            raise ImportFailed(
                f"{source}: none of the {len(inside)} files in this folder can be imported; "
                f"{READABLE}"
            )
        files += found
    return files


def _targets(sources: list[Path], out: Path, name: str, given: set[Path]) -> dict[Path, Path]:
    """Where the trace of each source goes.

    Files of a folder, which are not ``given``, keep their endings where two would have one name.
    """
    targets: dict[Path, Path] = {}
    if first_unprintable(name) is not None:
        raise ImportFailed(f"--name {name}: the name of a trace must be printable")
    for source in dict.fromkeys(sources):
        stem = "stdin" if source == STANDARD_INPUT else trace_name(source)
        if not name and first_unprintable(stem) is not None:
            raise ImportFailed(
                f"{printable(str(source))}: a trace cannot have this name; set one with --name"
            )
        target = out / f"{name or stem}{SUFFIX}"
        if source not in given and target in targets.values():
            target = out / f"{source.name}{SUFFIX}"
        for other, taken in targets.items():
            if taken == target:
                raise ImportFailed(f"{other} and {source} would both become {target}; use --name")
        targets[source] = target
    return targets


def _told(summary: TraceSummary) -> dict[str, object]:
    told = {
        field.name: getattr(summary, field.name)
        for field in dataclasses.fields(summary)
        if field.name != "header"
    }
    return told | {"origin": summary.header.origin, "losses": list(summary.header.losses)}

"""``refault shrink``: the few events of a trace that show one defect."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.catalogue import is_kernel, patch_set_to_text, resolve
from refault.cli.exits import ExitCode
from refault.cli.progress import Bars, simulator_bars
from refault.cli.terminal import print_error, print_json
from refault.cli.trace_files import as_trace, naming
from refault.cli.variants import labelled_variants
from refault.errors import InvalidParameter, NothingToShrink
from refault.printable import first_unprintable
from refault.trace import SUFFIX
from refault.trace.importers.ptt import trace_name

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.shrink.shrinking import Progress, Shrunk
    from refault.shrink.vector import Written

STATE_SUFFIX = ".shrink-state"
_MINUTES_MAX = 60 * 24 * 7
_LISTED_MAX = 100


_Trace = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE",
        help="A trace (.rft), or an operation vector (.ops.jsonl, also compressed by zstd, gzip, "
        "xz or bzip2), which is imported on the way.",
        show_default=False,
    ),
]
_Keep = Annotated[
    str,
    typer.Option(
        metavar="PROPERTY",
        help="What the result must still show. finding:KIND@VARIANT: such a finding of a run "
        "(missed-fault, use-after-free, …), or a failed check of an audit (F-U1). "
        "diverges:A,B: guest and host see something else under A than under B. "
        "counter:NAME:A<B: the counter is smaller under A. Quote it: the shell reads <.",
        show_default=False,
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(
        help="File for the result; default: NAME-shrunk.rft in this folder. Until the work is "
        "done FILE.shrink-state lies beside it: the same command goes on there.",
        show_default=False,
    ),
]
_AsTest = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Also write the operations and what every variant gives for them, as in "
        "tests/golden/vectors.",
        show_default=False,
    ),
]
_Budget = Annotated[
    float | None,
    typer.Option(
        metavar="MINUTES",
        help="Write what there is after so many minutes. Default: until no event can go.",
        min=0.01,
        max=_MINUTES_MAX,
        show_default=False,
    ),
]


def shrink(
    path: _Trace,
    *,
    keep: _Keep,
    out: _Out = None,
    as_test: _AsTest = None,
    budget: _Budget = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Remove events from a trace as long as it shows one defect, and the guest stays legal.

    A candidate counts only if the architecture alone agrees with every witness that is left, the
    variant shows the property, and its base without patches does not. Exit code 1: the trace does
    not show it.

    Example: refault shrink linux61-boot-1cpu.rft --keep finding:missed-fault@p3

    Example: refault shrink boot.rft --keep finding:F-U1@p3 --out mark.rft --as-test vectors

    Example: refault shrink s29_lost_mark.ops.jsonl.zst --keep diverges:base,p3 --budget 10

    Example: refault shrink boot.rft --keep 'counter:hw_flush:p3<series' --json
    """
    from refault.shrink.wanted import wanted_of

    wanted = wanted_of(keep, _variant_of)
    target = _target(path, out)
    if as_test is not None:
        from refault.shrink.vector import check_folder

        check_folder(as_test)
    with simulator_bars(enabled=not as_json) as bars, naming(path), as_trace(path) as trace:
        from refault.shrink.shrinking import Job
        from refault.shrink.shrinking import shrink as shrink_trace

        told = _Told(bars, path.name)
        state = target.with_name(target.name + STATE_SUFFIX)
        job = Job(trace, wanted, target, state, minutes=budget, on_progress=told)
        try:
            shrunk = shrink_trace(job)
        except NothingToShrink as error:
            print_error(f"{path}: {error}")
            raise typer.Exit(ExitCode.ANSWER_IS_NO) from error
        lines = _operations(target)
        written = None if as_test is None else _write_test(as_test, target, shrunk, told)
    if as_json:
        print_json(_to_dict(path, target, shrunk, written, lines))
    else:
        _show(path, target, shrunk, written, lines)


def _variant_of(text: str) -> Variant:
    [(_, variant)] = labelled_variants([text])
    return variant


def _target(path: Path, out: Path | None) -> Path:
    """Where the result goes.

    Raises:
        InvalidParameter: that is the trace itself, a folder, or no name for a trace.
    """
    name = path.stem if path.suffix == SUFFIX else trace_name(path)
    target = Path(f"{name}-shrunk{SUFFIX}") if out is None else out
    if target.suffix != SUFFIX or target.is_dir():
        raise InvalidParameter(f"--out {target}: expected the name of a file that ends in {SUFFIX}")
    if first_unprintable(target.stem) is not None:
        raise InvalidParameter(f"--out {target!r}: the name of a trace must be printable")
    if target.exists() and path.exists() and target.samefile(path):
        raise InvalidParameter(f"--out {target} is the trace itself; choose another name")
    return target


@dataclasses.dataclass
class _Told:
    """Shows how far the work is, on one bar."""

    bars: Bars
    name: str
    task: Any = None

    def __call__(self, progress: Progress) -> None:
        """Show it: bytes of the trace while it is read, then what is left."""
        if self.task is None:
            self.task = self.bars.add_task(self.name, total=None)
        text = f"{self.name}: {progress.stage}, {progress.events:,} events"
        if progress.tests:
            text += f", {progress.tests} tests, {progress.seconds:.0f} s"
        self.bars.update(
            self.task, description=text, completed=progress.read, total=progress.size or None
        )

    def of_variant(self, variant: str) -> None:
        """Show which variant replays the vector."""
        if self.task is not None:
            self.bars.update(self.task, description=f"{self.name}: the test under {variant}")


def _write_test(folder: Path, target: Path, shrunk: Shrunk, told: _Told) -> Written:
    from refault.shrink.trials import rows_of
    from refault.shrink.vector import lines_of_trace, write_test

    facts = {"keep": shrunk.wanted.text, "shrunk_from": shrunk.source_digest}
    lines = lines_of_trace(target, rows_of)
    return write_test(folder, target.stem, lines, facts, told.of_variant)


def _operations(target: Path) -> list[str]:
    """The operations of the result in words, with what the real guest saw; none if many."""
    from refault.shrink.trials import rows_of
    from refault.shrink.words import operation_lines
    from refault.trace import TraceReader

    with TraceReader(target) as reader:
        lines = operation_lines(rows_of(reader))
    return lines if len(lines) <= _LISTED_MAX else []


def _to_dict(
    path: Path, target: Path, shrunk: Shrunk, written: Written | None, lines: list[str]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "source": str(path),
        "source_digest": shrunk.source_digest,
        "source_events": shrunk.source_events,
        "keep": shrunk.wanted.text,
        "first_event": shrunk.first_event,
        "trace": str(target),
        "digest": shrunk.summary.digest,
        "events": shrunk.summary.event_count,
        "events_by_kind": dict(shrunk.summary.events_by_kind),
        "shown": shrunk.shown,
        "reference": shrunk.reference,
        "is_proved": shrunk.is_proved,
        "is_minimal": shrunk.is_minimal,
        "tests": shrunk.tests,
        "accepted": shrunk.accepted,
        "resumed": shrunk.resumed,
        "seconds": round(shrunk.seconds, 3),
        "operations": lines,
        "test": None,
    }
    if written is not None:
        body["test"] = {
            "vector": str(written.vector),
            "operations": written.operations,
            "expectations": written.expectations,
            "refused": written.refused,
        }
    return body


def _show(
    path: Path, target: Path, shrunk: Shrunk, written: Written | None, lines: list[str]
) -> None:
    """What came out, what it proves, and how to look at it."""
    wanted = shrunk.wanted
    events = shrunk.summary.event_count
    print(f"{path}: {shrunk.source_events:,} events; {target}: {events:,} events")
    print(f"keeps      {wanted.text}, first at event {shrunk.first_event} of the whole trace")
    told = ", ".join(f"{name} {count:,}" for name, count in shrunk.shown.items())
    print(f"shows      {told}")
    if shrunk.reference is not None:
        print(f"reference  {shrunk.reference} shows no {wanted.name} on it")
    if shrunk.is_proved:
        print("proof      no tables since the last flush allow that access (F-T5)")
    minimal = "no event can be left out"
    if not shrunk.is_minimal:
        minimal = "perhaps not: the time was used up; the same command goes on"
    print(f"minimal    {minimal}")
    resumed = (
        f", {shrunk.resumed} of them from {target.name}{STATE_SUFFIX}" if shrunk.resumed else ""
    )
    print(f"took       {shrunk.tests} tests{resumed}, {shrunk.seconds:.1f} s")
    if written is not None:
        print(
            f"test       {written.vector}: {written.operations:,} operations, "
            f"{len(written.expectations)} variants"
        )
        for variant, reason in written.refused.items():
            print(f"           {variant} refuses it: {reason}")
    if lines:
        print("\n" + "\n".join(lines))
    print(f"\n  {_next_command(target, shrunk)}")


def _next_command(target: Path, shrunk: Shrunk) -> str:
    """The command that shows what the result shows."""
    wanted = shrunk.wanted
    words = list(wanted.labels)
    if wanted.how == "diverges":
        return shlex.join(["refault", "diverge", str(target), *words])
    if shrunk.reference is not None and wanted.reference is not None:
        is_own = is_kernel(wanted.reference.base)
        golden = None if is_own else resolve(wanted.reference).golden_name
        words.insert(0, golden or patch_set_to_text(wanted.reference))
    verb = "audit" if wanted.how == "check" else "replay"
    options = [part for word in words for part in ("-v", word)]
    return shlex.join(["refault", verb, str(target), *options])

"""``refault validate``: a replay's page events beside those of a host's log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli.exits import ExitCode
from refault.cli.progress import simulator_bars
from refault.cli.tables import text_width
from refault.cli.terminal import print_json
from refault.cli.trace_files import as_trace, naming, on_disk
from refault.cli.variants import VARIANT_HELP, labelled_variants
from refault.errors import InvalidParameter
from refault.printable import printable

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.validate.validating import Report

_LOG_HELP = (
    "What a host with shadow paging recorded of the same guest: a trace.dat, the kernel's text, "
    "trace-cmd report, perf script, or a log of `refault replay --events`; also compressed; - is "
    "standard input."
)
_PHASES_HELP = (
    "What ends a phase: marks (the host's are lines written to trace_marker), so many writes of "
    "CR3, or time. auto takes the first that both sides have."
)
_SLICES = 8
_SLICES_MAX = 200


def validate(
    trace: Annotated[
        Path,
        typer.Argument(
            help="A captured trace (.rft) of the guest, or an operation vector.",
            show_default=False,
        ),
    ],
    log: Annotated[Path, typer.Argument(metavar="HOSTLOG", help=_LOG_HELP, show_default=False)],
    *,
    variant: Annotated[
        str, typer.Option("--variant", "-v", help=f"{VARIANT_HELP.split(' Default')[0]}")
    ] = "base",
    phases: Annotated[
        str,
        typer.Option(metavar="auto|marks|cr3|time|whole", help=_PHASES_HELP),
    ] = "auto",
    slices: Annotated[
        int,
        typer.Option(help="Phases by CR3 writes or time.", min=1, max=_SLICES_MAX),
    ] = _SLICES,
    tolerance: Annotated[
        float,
        typer.Option(help="Percent by which a count may differ.", min=0.0, max=100.0),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Set a replay's faults, pages, syncs, unsyncs and zaps beside those that a host recorded.

    Says phase by phase what both counted, and where they part first. A log of a host with EPT or
    NPT on is refused, and one with lost events is never called complete. How to record one:
    docs/howto/import.md.

    Exit code 0: all counts agree and the log is complete; 1: not so.

    Example: refault validate demo/traces/linux61-workload-1cpu.rft trace.dat -v base

    Example: refault validate guest.rft perf-script.txt --phases cr3 --slices 20 --tolerance 5
    """
    labelled = labelled_variants([variant])
    if len(labelled) != 1:
        raise InvalidParameter("--variant names one variant; validate each in turn")
    asked = {"phases": phases, "slices": slices, "tolerance": tolerance}
    report = _compared(trace, log, labelled[0][1], asked, has_bar=not as_json)
    if as_json:
        named = {"trace": str(trace), "log": str(log), "variant": labelled[0][1].name}
        print_json({**named, **report.to_dict()})
    else:
        _show(report, trace, log, labelled[0][0])
    if report.verdict != "agree":
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _compared(
    trace: Path, log: Path, variant: Variant, asked: dict[str, Any], *, has_bar: bool
) -> Report:
    from refault.validate.validating import validate as compare_sides

    with on_disk(log) as kept, as_trace(trace) as replayed, simulator_bars(enabled=has_bar) as bars:
        task = bars.add_task(trace.name, total=None)
        with naming(trace):
            return compare_sides(
                replayed,
                kept,
                variant,
                progress=lambda done, total: bars.update(task, completed=done, total=total or None),
                **asked,
            )


def _show(report: Report, trace: Path, log: Path, label: str) -> None:
    from refault.validate.text import to_text

    text = to_text(
        report,
        trace=printable(trace.name),
        log=printable(log.name),
        variant=label,
        width=text_width(72),
    )
    print(text, end="")

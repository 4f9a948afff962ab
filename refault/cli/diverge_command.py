"""``refault diverge``: the first operation at which two variants differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refault.cli import asking
from refault.cli.asking import AtService
from refault.cli.exits import ExitCode
from refault.cli.progress import simulator_bars
from refault.cli.service import WithTimeout, WithToken, WithUrl
from refault.cli.terminal import print_json
from refault.cli.trace_files import as_trace, naming
from refault.cli.variants import labelled_variants
from refault.questions import Between, Question

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.diverge.diverging import Report

_VARIANT = "a golden name, patch ids joined by +, walk, or kernel:NAME; as -v of `refault replay`."


def diverge(
    trace: Annotated[
        Path,
        typer.Argument(
            help="A trace (.rft), or an operation vector (.ops.jsonl, also compressed by zstd, "
            "gzip, xz or bzip2), which is imported on the way.",
            show_default=False,
        ),
    ],
    first: Annotated[
        str, typer.Argument(metavar="A", help=f"A variant: {_VARIANT}", show_default=False)
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="The variant to hold against A.", show_default=False)
    ],
    *,
    on: Annotated[
        str,
        typer.Option(
            metavar="outcome|pages|COUNTER",
            help="What is compared. outcome: what guest and host see of each operation, and of two "
            "engines what the guest sees. pages: the shadow pages in use and their marks; in a "
            "long trace what is equal again within 4096 operations is not seen. A counter: also "
            "where its difference accumulates.",
        ),
    ] = "outcome",
    find_next: Annotated[
        bool,
        typer.Option(
            "--next",
            help="Also the first later difference that is not a consequence of the first. outcome: "
            "at an address that the guest translates through another last-level table. pages: of a "
            "frame whose pages were alike right after the first. A counter: by another kind of "
            "operation, or in another region of the guest.",
        ),
    ] = False,
    at_service: AtService = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Find the first operation at which two variants differ, and show both MMUs around it.

    Exit code 0: they do not differ, and digests say so; 1: they do.

    Example: refault diverge s29_lost_mark.ops.jsonl.zst base p3

    Example: refault diverge demo/traces/linux61-boot-1cpu.rft base series --on hw_flush

    Example: refault diverge linux61-boot-1cpu base p3 --service
    """
    between = Between(on, find_next)
    if at_service:
        where = asking.Connection(url, token, timeout)
        _ask_service(where, trace, (first, second), between, as_json=as_json)
        return
    labelled = labelled_variants([first, second])
    variants = [variant for _, variant in labelled]
    report = _compared(trace, variants, between, has_bar=not as_json)
    if as_json:
        print_json(_to_dict(report, trace, labelled))
    else:
        _show(report, trace, (first, second))
    if report.divergences:
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _ask_service(
    where: asking.Connection,
    trace: Path,
    texts: tuple[str, str],
    between: Between,
    *,
    as_json: bool,
) -> None:
    question = Question(between)
    told = asking.ask(where, lambda _: question, [str(trace)], [texts], has_bar=not as_json)
    asking.show(told, as_json=as_json)
    if (told[0].found.get("answer") or {}).get("divergences"):
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _compared(path: Path, variants: list[Variant], between: Between, *, has_bar: bool) -> Report:
    from refault.diverge.diverging import diverge as compare_variants
    from refault.diverge.search import Job

    with (
        naming(path),
        as_trace(path) as trace,
        simulator_bars(enabled=has_bar) as bars,
    ):
        task = bars.add_task(path.name, total=None)
        job = Job(
            trace,
            variants,
            threads=min(len(variants), len(os.sched_getaffinity(0))),
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
        )
        return compare_variants(job, between.on, wants_next=between.wants_next)


def _show(report: Report, path: Path, labels: tuple[str, str]) -> None:
    from refault.diverge.text import Told, report_text

    command = ["refault", "diverge", str(path), *labels]
    if report.on != "outcome":
        command += ["--on", report.on]
    if report.wants_next:
        command.append("--next")
    print(report_text(report, Told(path.name, labels, command)), end="")


def _to_dict(report: Report, path: Path, labelled: list[tuple[str, Variant]]) -> dict[str, Any]:
    from refault.diverge.around import plain

    variants = [
        {"label": label, "name": variant.name, "digest": variant.digest, "engine": variant.engine}
        for label, variant in labelled
    ]
    told: dict[str, Any] = plain(report)
    return {"trace": path.name, "variants": variants, **told}

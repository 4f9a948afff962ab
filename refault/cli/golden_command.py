"""``refault golden``: compare an engine with what the real kernel code did."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli.files import required
from refault.cli.progress import simulator_bars
from refault.cli.terminal import print_error, print_json
from refault.engines import ENGINES
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.golden import Case, Verdict

GROUP_MAX = 8  # cases one process takes at a time


def golden(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders with golden results.", show_default=False)
    ],
    *,
    variant: Annotated[
        list[str], typer.Option("--variant", "-v", help="Only these variants.")
    ] = [],  # noqa: B006 - Typer copies it
    traces: Annotated[
        Path | None, typer.Option(help="Folder of the captures; default: beside their results.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one per CPU.")] = 0,
    engine: Annotated[
        str, typer.Option(help=f"The engine to check: {', '.join(ENGINES)} (as kernel:NAME).")
    ] = "shadow",
    against: Annotated[
        str | None,
        typer.Option(help="Compare with another engine instead of recorded results."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Replay golden cases and compare every field of every operation.

    An engine without counters is compared by what the guest sees.

    The last line counts the runs and operations that agree. Exit code 1 unless all do, and if
    there was nothing to compare.

    Example: refault golden tests/golden --traces demo/traces
    """
    from refault.golden import cases_in, engine_of

    for name in (engine, against or engine):
        engine_of(name)
    for folder in (*folders, *([traces] if traces else [])):
        required(folder, Kind.GOLDEN, Kind.FOLDER)
    cases = [
        case for folder in folders for case in cases_in(folder, traces=traces, variants=variant)
    ]
    if not cases:
        places = ", ".join(map(str, folders))
        print_error(
            f"nothing to compare: no MANIFEST.json in {places} names a result"
            f"{' of ' + ', '.join(variant) if variant else ''}"
        )
    verdicts = []
    with simulator_bars(enabled=not as_json) as progress:
        for verdict in progress.track(
            _checked(cases, engine, against, jobs or os.cpu_count() or 1), len(cases)
        ):
            verdicts.append(verdict)
            if not verdict.agrees and not as_json:
                why = verdict.difference or verdict.refused
                progress.say(f"{verdict.name} {verdict.variant}: {why}")
    runs = sum(verdict.agrees for verdict in verdicts)
    operations = sum(verdict.operations for verdict in verdicts)
    agreeing = sum(verdict.agreeing for verdict in verdicts)
    if as_json:
        summary = {
            "runs": len(verdicts),
            "runs_agreeing": runs,
            "operations": operations,
            "operations_agreeing": agreeing,
            "cases": [verdict.to_dict() for verdict in verdicts],
        }
        print_json(summary)
    else:
        print(f"{runs} of {len(verdicts)} runs agree, {agreeing} of {operations} operations")
    if runs < len(verdicts) or not verdicts:
        raise typer.Exit(1)


def _checked(cases: list[Case], engine: str, against: str | None, jobs: int) -> Iterator[Verdict]:
    """The verdicts in the order of the cases, worked out side by side as soon as each is there."""
    from refault.golden import engine_of
    from refault.replay.session import warm_up

    groups = list(_same_input(cases))
    check_group = functools.partial(_check_group, engine=engine, against=against)
    if min(jobs, len(groups)) <= 1:
        for group in groups:
            yield from check_group(group)
        return
    warm_up(
        {engine_of(name).name for name in (engine, against or engine)}
    )  # once, so that the processes find compiled kernels
    with _deaf_to_ctrl_c():
        pool = multiprocessing.get_context("spawn").Pool(min(jobs, len(groups)))
    with pool:
        for verdicts in pool.imap(check_group, groups):
            yield from verdicts


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Child processes ignore Ctrl-C; this process handles it afterwards and ends them.

    A terminal sends it to all of them. They inherit the mask; here another thread may take it.
    """
    multiprocessing.resource_tracker.ensure_running()  # it unblocks the signal when it starts
    taken: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: taken.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if taken:
        raise KeyboardInterrupt


def _same_input(cases: list[Case]) -> Iterator[list[Case]]:
    """Cases that follow each other and share an input, which is then converted once."""
    for _, group in itertools.groupby(cases, key=lambda case: case.source):
        same = list(group)
        for start in range(0, len(same), GROUP_MAX):
            yield same[start : start + GROUP_MAX]


def _check_group(cases: Sequence[Case], engine: str, against: str | None) -> list[Verdict]:
    from refault.golden import check

    return [check(case, engine, against) for case in cases]

"""``refault verify``: do the tables in a trace explain what the real guest saw?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.cli.exits import ExitCode
from refault.cli.files import required
from refault.cli.progress import Bars, simulator_bars
from refault.cli.terminal import print_error, print_json
from refault.cli.trace_files import naming
from refault.errors import ReplayRefused
from refault.trace.importers.recognition import Kind

if TYPE_CHECKING:
    from refault.verify import Verification


def verify(
    traces: Annotated[
        list[Path], typer.Argument(help="Captured traces (.rft).", show_default=False)
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Rebuild the guest's page tables from a trace alone, and ask every witness in it.

    A witness is an access whose guest-physical address the capture saw in the real guest, or a page
    fault with its error code. Of each class it is told how many agree with the tables; the first
    that do not are listed with their events. A trace is good from 99.99 % on.

    Exit code 1: a trace is not good. Otherwise exit code 2 if one has nothing to verify, as traces
    of operations do.

    Example: refault verify demo/traces/linux61-boot-1cpu.rft
    """
    for path in traces:
        required(path, Kind.TRACE, Kind.PIPE)
    found: list[tuple[Path, Verification]] = []
    refusals: list[str] = []
    with simulator_bars(enabled=not as_json) as bars:
        for path in traces:
            try:
                found.append((path, _verified(path, bars)))
            except ReplayRefused as error:
                refusals.append(str(error))
    if as_json:
        print_json([{"trace": path.name, **each.to_dict()} for path, each in found])
    for reason in refusals:  # not amid the bars
        print_error(reason)
    if not as_json:
        for path, each in found:
            _show(path, each)
    if not all(each.is_good for _, each in found):
        raise typer.Exit(ExitCode.ANSWER_IS_NO)
    raise typer.Exit(ExitCode.BAD_INPUT if refusals else ExitCode.OK)


def _verified(path: Path, bars: Bars) -> Verification:
    from refault import verify as verifying

    task = bars.add_task(path.name, total=None)
    with naming(path):
        return verifying.verify(
            path,
            progress=lambda done, total: bars.update(task, completed=done, total=total or None),
        )


def _show(path: Path, each: Verification) -> None:
    from refault.verify.text import report_lines

    print("\n".join([*report_lines(each, title=path.name), ""]))

"""Progress bars of long commands."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from refault.cli.terminal import terminal_of
from refault.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Description(ProgressColumn):
    """A bar's description as plain text: names may hold markup or control characters."""

    def render(self, task: Task) -> Text:
        """The description of the task."""
        return Text(printable(task.description))


class Bars(Progress):
    """Bars on standard error, so that what a command prints can be piped; none off a terminal."""

    def say(self, text: str) -> None:
        """Print a line of the command's output, above the bars where both are on a terminal."""
        if self.disable or not sys.stdout.isatty():
            print(text, flush=True)
        else:
            self.console.print(Text(printable(text, lines=True)), soft_wrap=True)


def progress_bars(*, enabled: bool) -> Bars:
    """Bars of work measured as a fraction of the whole."""
    return _bars(Description(), BarColumn(), TaskProgressColumn(), enabled=enabled)


def transfer_bars(*, enabled: bool) -> Bars:
    """Bars of work measured in bytes."""
    columns = (Description(), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return _bars(*columns, enabled=enabled)


@contextmanager
def compiling(bars: Bars, what: str = "the simulator's kernels") -> Iterator[None]:
    """A bar of the kernels that are compiled meanwhile, if any are; it goes when all are there.

    The first time a release runs on a machine its kernels are compiled, which takes half a minute
    or more; then they are loaded from the cache and nothing is shown.
    """
    # Here, since few commands come to it and numba takes half a second to load.
    from refault.compiling import told

    task = bars.add_task(f"compiling {what} (once)", total=None, visible=False)

    def tell(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total, visible=done < total)

    try:
        with told(tell):
            yield
    finally:
        bars.remove_task(task)


@contextmanager
def simulator_bars(*, enabled: bool) -> Iterator[Bars]:
    """Bars of a command that replays, with one more while the simulator is compiled."""
    with progress_bars(enabled=enabled) as bars, compiling(bars):
        yield bars


def status_line(*, enabled: bool) -> Bars:
    """A line that says how far work is of which nobody knows the whole."""
    return _bars(SpinnerColumn(), Description(), enabled=enabled, remaining=False)


def _bars(*columns: ProgressColumn, enabled: bool, remaining: bool = True) -> Bars:
    console = Console(file=terminal_of(sys.stderr))
    return Bars(
        *columns,
        *([TimeRemainingColumn()] if remaining else []),
        console=console,
        disable=not (enabled and console.is_terminal),
        redirect_stdout=False,
        redirect_stderr=False,
    )

"""Progress output of the starter: live on a terminal, plain lines elsewhere.

It goes to stderr; stdout is for the comparison.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_SECONDS = 5.0


class Reporter(Protocol):
    """Steps, and one progress bar at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def step(self, text: str) -> None:
        """A step begins."""

    def bar(self, text: str, done: int, total: int) -> None:
        """Progress of the current bar; another ``text`` begins another bar."""

    def close_bar(self) -> None:
        """Ends the bar."""


class Lines:
    """Plain lines, for logs: a bar is a line every few seconds."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._last_bar = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def step(self, text: str) -> None:
        """Prints it with the seconds since the start."""
        print(f"[{time.monotonic() - self._begun:6.1f} s] {text}", file=sys.stderr, flush=True)

    def bar(self, text: str, done: int, total: int) -> None:
        """Prints a line every few seconds."""
        now = time.monotonic()
        if now - self._last_bar >= LINE_SECONDS:
            self._last_bar = now
            self.step(f"{text}: {100 * done // max(total, 1)} %")

    def close_bar(self) -> None:
        """Resets the timer, so that the next bar's first line is printed at once."""
        self._last_bar = 0.0


class Live:
    """A spinner of steps and a bar that moves."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._text = ""
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        """Prints a permanent line."""
        self._progress.console.print(text, highlight=False, markup=False)

    def bar(self, text: str, done: int, total: int) -> None:
        """Updates the bar, or begins another."""
        if self._bar is None or text != self._text:
            self.close_bar()
            self._text = text
            self._bar = self._progress.add_task(text, total=max(total, 1))
        self._progress.update(self._bar, completed=done, total=max(total, 1))

    def close_bar(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None


def reporter() -> Reporter:
    """The implementation for the current stderr."""
    return Live() if sys.stderr.isatty() else Lines()

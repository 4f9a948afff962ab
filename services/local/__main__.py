"""``python -m services.local demo|serve``: the service on this machine, in one folder."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

import sqlalchemy as sa

from refault.errors import RefaultError
from services.local import demo, review
from services.local.first_account import FILE
from services.local.progress import reporter
from services.local.stack import Stack, pause

_Told = TypeVar("_Told")

INTERRUPTED = 130
TERMINATED = 143


class _ToldToStop(BaseException):
    """SIGTERM or SIGHUP arrived; a BaseException, so that no error handler catches it."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("demo", "replay the demo traces through the whole service and print the comparison"),
        ("serve", "keep the service up until Ctrl-C"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--data",
            type=Path,
            default=Path(os.environ.get("REFAULT_DATA", ".refault")),
            help="data folder (REFAULT_DATA; default .refault)",
        )
        command.add_argument(
            "--port", type=int, default=None, help="port of the service (default: any free one)"
        )
        command.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    demo_parser = commands.choices["demo"]
    demo_parser.add_argument(
        "--keep", action="store_true", help="keep running after the table, as on a terminal"
    )
    demo_parser.add_argument(
        "--no-review",
        action="store_true",
        help="leave out what it ends with, the review of the thread of April 2010",
    )
    demo_parser.add_argument(
        "--traces",
        type=Path,
        default=demo.TRACES,
        help="folder of the traces (*.rft) to replay (default: those of the checkout)",
    )
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers: at least 1")
    if options.port is not None and not 1 <= options.port <= 65535:  # noqa: PLR2004
        parser.error("--port: from 1 to 65535")
    return _guarded(options)


def _guarded(options: argparse.Namespace) -> int:
    """Stops everything in any case, and prints a failure."""
    signal.signal(signal.SIGTERM, _tell)
    signal.signal(signal.SIGHUP, _tell)
    stack = Stack(options.data, worker_count=options.workers, port=options.port)
    try:
        with stack:
            _work(stack, options)
    except KeyboardInterrupt:
        # Ctrl-C on a terminal is a normal exit; before the service was up it is a failure.
        return 0 if stack.was_ready else INTERRUPTED
    except _ToldToStop:
        return TERMINATED
    except (RefaultError, sa.exc.SQLAlchemyError) as error:
        print(f"\n{options.command}: {error}", file=sys.stderr)
        print(f"logs: {stack.folder.path('logs')}", file=sys.stderr)
        return 1
    return 0


def _work(stack: Stack, options: argparse.Namespace) -> None:
    traces = demo.trace_files(options.traces) if options.command == "demo" else []
    with reporter() as report:
        for step in stack.start():
            report.step(step)
        report.step(f"the service is up at {stack.url}")
        if options.command == "demo":
            shown = _in_background(stack, lambda: demo.run(stack.url, stack.token, report, traces))
    if options.command == "demo":
        print(shown.table)
        print(shown.remark)
        print(f"as a page: {shown.page_url}", flush=True)
        print(f"to log in: {_how_to_log_in(stack)}", file=sys.stderr)
        if not options.no_review:
            _review(stack, traces, shown.digests)
        if not (options.keep or (sys.stdin.isatty() and sys.stdout.isatty())):
            return
    else:
        print(stack.url, flush=True)
        print(f"to log in: {_how_to_log_in(stack)}", file=sys.stderr)
    print("Ctrl-C stops the service.", file=sys.stderr)
    while True:
        stack.watch()
        pause()


def _review(stack: Stack, traces: Sequence[Path], digests: Sequence[str]) -> None:
    with reporter() as report:
        report.step(
            "reviewing the thread of April 2010 on these traces (first compiles the checks)"
        )
        text = review.reviewed(stack, traces)
        page = _in_background(stack, lambda: demo.decide(stack.url, stack.token, report, digests))
    print(f"\n{text}", end="")
    print(f"which to merge, and which other form instead, as a page: {page}", flush=True)


def _how_to_log_in(stack: Stack) -> str:
    user = stack.access.user if stack.access else ""
    return f"{stack.url}/login as {user}; password and token are in {stack.folder.path(FILE)}"


def _in_background(stack: Stack, work: Callable[[], _Told]) -> _Told:
    """Runs the demo on a thread, so that the main thread can watch the parts and get signals."""
    answers: list[_Told] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # noqa: BLE001  # handed to the main thread
            errors.append(error)

    thread = threading.Thread(target=run, name="demo", daemon=True)
    thread.start()
    while thread.is_alive():
        stack.watch()
        thread.join(0.2)
    if errors:
        raise errors[0]
    return answers[0]


def _tell(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _ToldToStop


if __name__ == "__main__":
    sys.exit(main())

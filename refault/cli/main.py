"""The ``refault`` command: one verb a module (verbs.py), errors in one place."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from refault.cli.exits import ExitCode, code_of, epilog
from refault.cli.terminal import OutputLost, clean_output, print_error
from refault.cli.verbs import Verbs
from refault.errors import RefaultError

app = typer.Typer(
    name="refault",
    cls=Verbs,
    help="What does a shadow-MMU patch do to a real guest, and is it safe?",
    epilog=epilog(),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def refault() -> None:
    """Nothing of its own: a callback is what makes a group of verbs that are not loaded yet."""


def main() -> None:
    """Run the command; an expected error is one line on standard error."""
    signal.signal(signal.SIGTERM, _stop)
    with clean_output():
        _run()


def _run() -> None:
    try:
        try:
            app()
        finally:
            # A full buffer or a closed pipe shows here, not after the last line of ours.
            sys.stdout.flush()
    except RefaultError as error:
        print_error(str(error))
        sys.exit(code_of(error))
    except KeyboardInterrupt:
        print_error("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except OutputLost as lost:
        if str(lost):
            print_error(f"the output cannot be written: {lost}")
        _leave_lost_output()
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:
            print_error("interrupted")
        raise


def _leave_lost_output() -> None:
    """Exit without the interpreter flushing to a closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.exit(ExitCode.OUTPUT_LOST)


def _stop(number: int, frame: FrameType | None) -> None:
    """Exit as on Ctrl-C: partial files are removed on the way out."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    main()

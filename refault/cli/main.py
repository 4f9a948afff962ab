"""The ``refault`` command: one verb a module, errors in one place."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from refault.cli.batches_command import batches
from refault.cli.compare_command import compare_runs
from refault.cli.exits import ExitCode, code_of, epilog
from refault.cli.golden_command import golden
from refault.cli.import_command import import_trace
from refault.cli.patches_command import app as patches
from refault.cli.push_command import push
from refault.cli.replay_command import replay
from refault.cli.report_command import report
from refault.cli.repro_command import repro
from refault.cli.submit_command import submit
from refault.cli.traces_command import traces
from refault.cli.watch_command import watch
from refault.errors import RefaultError

app = typer.Typer(
    name="refault",
    help="What does a shadow-MMU patch do to a real guest, and is it safe?",
    epilog=epilog(),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("replay")(replay)
app.add_typer(patches)
app.command("import")(import_trace)
app.command("golden")(golden)
app.command("push")(push)
app.add_typer(traces, name="traces")
app.command("submit")(submit)
app.command("watch")(watch)
app.add_typer(batches, name="batches")
app.command("compare")(compare_runs)
app.command("report")(report)
app.command("repro")(repro)


def main() -> None:
    """Run the command; what went wrong on purpose is one line on standard error."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        try:
            app()
        finally:
            # A full buffer or a closed pipe shows here, not after the last line of ours.
            sys.stdout.flush()
    except RefaultError as error:
        _say(str(error))
        sys.exit(code_of(error))
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _leave_closed_output()
    except SystemExit as ended:
        # The framework makes 1 of a closed pipe, which means something else here.
        if isinstance(ended.__context__, BrokenPipeError):
            _leave_closed_output()
        if ended.code == ExitCode.INTERRUPTED:
            _say("interrupted")
        raise


def _say(message: str) -> None:
    try:
        print(f"refault: {message}", file=sys.stderr)
    except OSError:
        # Nobody is left to be told; the exit code says it.
        return


def _leave_closed_output() -> None:
    """Ends without the interpreter trying to write what nobody reads."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.exit(ExitCode.OUTPUT_CLOSED)


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends the program as Ctrl-C does: files half written are removed on the way out."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    main()

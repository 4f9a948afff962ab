"""The ``refault`` command: one verb a module, errors in one place."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from refault.cli.audit_command import audit
from refault.cli.batches_command import batches
from refault.cli.bundle_command import app as bundle
from refault.cli.capture_command import capture
from refault.cli.compare_command import compare_runs
from refault.cli.diverge_command import diverge
from refault.cli.exits import ExitCode, code_of, epilog
from refault.cli.explain_command import explain
from refault.cli.findings_command import findings
from refault.cli.golden_command import golden
from refault.cli.import_command import import_trace
from refault.cli.inspect_command import inspect
from refault.cli.kernel_command import app as kernel
from refault.cli.note_command import app as note
from refault.cli.patches_command import app as patches
from refault.cli.profile_command import profile
from refault.cli.push_command import push
from refault.cli.replay_command import replay
from refault.cli.report_command import app as report
from refault.cli.repro_command import repro
from refault.cli.shrink_command import shrink
from refault.cli.submit_command import submit
from refault.cli.synth_command import synth
from refault.cli.team_command import members, tokens
from refault.cli.terminal import OutputLost, clean_output, print_error
from refault.cli.traces_command import traces
from refault.cli.usage_command import usage
from refault.cli.validate_command import validate
from refault.cli.verify_command import verify
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
app.command("audit")(audit)
app.command("profile")(profile)
app.command("diverge")(diverge)
app.command("inspect")(inspect)
app.command("shrink")(shrink)
app.add_typer(patches)
app.add_typer(kernel)
app.command("capture")(capture)
app.command("import")(import_trace)
app.command("verify")(verify)
app.command("validate")(validate)
app.command("synth")(synth)
app.command("golden")(golden)
app.command("push")(push)
app.add_typer(traces, name="traces")
app.command("submit")(submit)
app.command("watch")(watch)
app.add_typer(batches, name="batches")
app.command("compare")(compare_runs)
app.add_typer(bundle)
app.add_typer(note)
app.add_typer(tokens)
app.add_typer(members)
app.command("usage")(usage)
app.add_typer(report)
app.command("findings")(findings)
app.command("repro")(repro)
app.command("explain")(explain)


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

"""The ``refault`` command: one verb a module, errors in one place."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from refault.cli.golden_command import golden
from refault.cli.import_command import import_trace
from refault.cli.patches_command import patches
from refault.cli.replay_command import replay
from refault.errors import RefaultError

#: Exit codes: all well; the answer is "no" (a disagreement, an unsound variant); unusable input.
OK, ANSWER_IS_NO, BAD_INPUT = 0, 1, 2

app = typer.Typer(
    name="refault",
    help="What does a shadow-MMU patch do to a real guest, and is it safe?",
    epilog="Exit codes: 0 all well · 1 the answer is no (a difference, a finding) · 2 bad input.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("replay")(replay)
app.command("patches")(patches)
app.command("import")(import_trace)
app.command("golden")(golden)


def main() -> None:
    """Run the command; what went wrong on purpose is one line on standard error."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except RefaultError as error:
        print(f"refault: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("refault: interrupted; nothing was kept", file=sys.stderr)
        sys.exit(130)


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends the program as Ctrl-C does: files half written are removed on the way out."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    main()

"""``refault report``: text to send, of a batch, or of the thread of April 2010."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from refault.cli.files import no_file
from refault.cli.outcome import judged
from refault.cli.seed_thread_command import seed_thread
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect, link_to
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.mail import to_mail

_BATCH = "batch"


class _BatchUnlessNamed(TyperGroup):
    """A group whose first word may be a batch: ``report b-7k3f`` is ``report batch b-7k3f``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The words, with ``batch`` in front unless a command of the group or help is asked for."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_BATCH, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="report",
    cls=_BatchUnlessNamed,
    no_args_is_help=True,
    help="Text to send: of a batch of the service (refault report b-7k3f --mail is enough), or of "
    "the patch series of April 2010 on traces of your own (refault report seed-thread).",
)


@app.command(_BATCH)
def report(
    batch: Annotated[str, typer.Argument(help="Code or id of the batch.", show_default=False)],
    *,
    mail: Annotated[
        bool,
        typer.Option("--mail", help="Short, to paste under a patch; default: with every table."),
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Report a batch as plain text of at most 72 columns.

    The word `batch` may be left out. The exit codes are those of `refault watch`: 1 if the verdict
    is a regression or worse.

    Example: refault report batch b-7k3f --mail
    """
    no_file(batch)
    with connect(url, token, timeout) as client:
        document = client.comparison(batch)
        told = judged(document)
        if as_json:
            print_json({"outcome": told.to_dict(), "comparison": document})
        elif mail:
            link = link_to(client, document["batch"]["code"])
            print(to_mail(document, link=link), end="")
        else:
            print(client.comparison_text(batch), end="")
    raise typer.Exit(told.exit_code)


app.command("seed-thread")(seed_thread)

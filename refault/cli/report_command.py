"""``refault report``: a batch as text to send."""

from __future__ import annotations

from typing import Annotated

import typer

from refault.cli.files import no_file
from refault.cli.outcome import judged
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.mail import to_mail


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

    The exit codes are those of `refault watch`: 1 if the verdict is a regression or worse.

    Example: refault report b-7k3f --mail
    """
    no_file(batch)
    with connect(url, token, timeout) as client:
        document = client.comparison(batch)
        told = judged(document)
        if as_json:
            print_json({"outcome": told.to_dict(), "comparison": document})
        elif mail:
            link = f"{client.base_url}{document['batch']['links']['page']}"
            print(to_mail(document, link=link), end="")
        else:
            print(client.comparison_text(batch), end="")
    raise typer.Exit(told.exit_code)

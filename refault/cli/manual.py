"""The reference of the command line, generated from the help texts.

``python -m refault.cli.manual > docs/howto/command-line.md`` writes it; a test compares the
committed page with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from refault.cli.exits import MEANINGS

WIDTH = 100
_INTRODUCTION = """\
# The command line

*Made by `python -m refault.cli.manual > docs/howto/command-line.md`; do not edit by hand.*

Commands that use the service find it by `--url`, else `REFAULT_URL`, else in the data folder
of `make serve` or `make demo` (`REFAULT_DATA`, by default `.refault`), else at
`http://127.0.0.1:8000`. They authenticate by `--token`, else `REFAULT_TOKEN`, else the file
`~/.config/refault/token`, which only its owner may read. Each of its lines is the address of a
service and the token for it; pasted like this, it stays out of the shell's history:

```sh
install -m 700 -d ~/.config/refault
(umask 077; cat >> ~/.config/refault/token)      # http://lab:8000 TOKEN, Enter, Ctrl-D
```

A token is sent to its own address only. The token of a line goes to that line's address.
`REFAULT_TOKEN` goes to `REFAULT_URL`; if that is unset, to the address of `--url` or the default,
but never to one found in a folder. `--token` goes where the command goes. A data folder must name
an address of this machine, because the folder may have come with somebody's repository. Redirects
are not followed.

A busy service is retried after the time it asks for, up to a minute; a request whose answer was
lost is sent once more and is carried out only once. Progress is shown on a terminal only; commands
that print a table have `--json`.

## A series, from the trace to the mail

```sh
refault push guest.rft
refault submit guest --patches series --plan series --name v3 --dry-run
refault submit guest --patches series --plan series --name v3 --wait
refault compare b-7k3f/1-5 b-9x2m/1-6 --format md
refault report b-7k3f --mail
refault repro b-7k3f/guest/1-6
```

`BATCH/TRACE/COLUMN` names a cell: the code of the batch, the name of the trace or the beginning
of its digest, and the label of the column or its number, counted from 1.

## Completion

```sh
refault --install-completion                     # permanently, for the current shell
refault --show-completion                        # print what that would write
_REFAULT_COMPLETE=source_bash refault            # the same for a named shell: bash, zsh or fish
```
"""


def manual() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _exit_codes()]
    for path, text in _helps():
        parts.append(f"## {path}\n\n```\n{text}```\n")
    return "\n".join(parts)


def _exit_codes() -> str:
    rows = "".join(f"| {code.value} | {text} |\n" for code, text in MEANINGS.items())
    return f"## Exit codes\n\n| code | means |\n|---|---|\n{rows}"


def _helps() -> Iterator[tuple[str, str]]:
    """Every command with its help, as a terminal of ``WIDTH`` columns shows it."""
    from refault.cli.main import app

    def walk(command: Any, context: Any) -> Iterator[tuple[str, str]]:
        children = getattr(command, "commands", {})
        if not children:
            lines = command.get_help(context).splitlines()
            yield context.command_path, "\n".join(line.rstrip() for line in lines) + "\n"
        for name, child in children.items():
            inner = type(context)(child, info_name=name, parent=context, **settings)
            yield from walk(child, inner)

    settings: dict[str, Any] = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    root = typer.main.get_command(app)
    yield from walk(root, typer.Context(root, info_name="refault", **settings))


if __name__ == "__main__":
    print(manual(), end="")

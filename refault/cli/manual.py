"""The reference of the command line, made of the help itself.

``python -m refault.cli.manual > docs/howto/command-line.md`` writes it anew; a test holds the
committed page against it.
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

Every verb is a part of `refault`. Those that ask the service find it by `--url`, else
`REFAULT_URL`, else as the service that `make serve` or `make demo` runs in the data folder here
(`REFAULT_DATA`, by default `.refault`), else at `http://127.0.0.1:8000`. They say who asks by
`--token`, else `REFAULT_TOKEN`, else the file `~/.config/refault/token`, which nobody else may be
able to read. Each of its lines is the address of a service and the token that was made for it,
pasted here so that no shell keeps it:

```sh
install -m 700 -d ~/.config/refault
(umask 077; cat >> ~/.config/refault/token)      # http://lab:8000 TOKEN, Enter, Ctrl-D
```

A token goes to no other address than its own. That of a line goes to the address before it;
`REFAULT_TOKEN` goes to `REFAULT_URL`, and where that is not set to the address of `--url` or the
usual one, but to none that was found in a folder; `--token` goes where the command goes. What a
data folder names must be an address of this machine: the folder may have come with somebody's
repository. Redirects are not followed.

A service that is busy and says for how long is waited for, up to a minute; a request whose answer
was lost is sent once more and is still done only once. Progress is shown on a terminal only;
`--json` is there wherever there is a table.

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
refault --install-completion                     # for good, in the shell it is called from
refault --show-completion                        # what that would write
_REFAULT_COMPLETE=source_bash refault            # the same for a shell by name: bash, zsh or fish
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

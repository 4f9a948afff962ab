"""The command line as a program of its own, with nothing of this machine's user in it."""

import os
import subprocess
import sys


def environment(folder, **given):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REFAULT_", "XDG_", "_TYPER", "_REFAULT"))
    }
    return kept | {"XDG_CONFIG_HOME": str(folder), "REFAULT_DATA": str(folder / "data")} | given


def command(*arguments):
    return [sys.executable, "-m", "refault.cli.main", *map(str, arguments)]


def run(folder, *arguments, **given):
    return subprocess.run(
        command(*arguments),
        env=environment(folder, **given),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

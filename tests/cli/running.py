"""The command line as a program of its own, with nothing of this machine's user in it."""

import io
import os
import signal
import subprocess
import sys
from typing import NamedTuple

from refault.cli.main import main
from tests.patience import PATIENCE_SECONDS


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
        timeout=PATIENCE_SECONDS,
    )


class Answer(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_here(monkeypatch, folder, *arguments, **given):
    """As :func:`run`, in this process: no second interpreter to wait for."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("REFAULT_", "XDG_")):
                patch.delenv(name)
        home = {"XDG_CONFIG_HOME": str(folder), "REFAULT_DATA": str(folder / "data")}
        for name, value in (home | given).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["refault", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Answer(code, out.getvalue(), err.getvalue())

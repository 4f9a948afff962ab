"""What the demo ends with: the review of the thread of April 2010 on the demo's traces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refault.compare import layout
from services.local.processes import describe_exit
from services.local.stack import Stack, pause

FOLDER = "report"
WIDTH = 72


def reviewed(stack: Stack, traces: Sequence[Path]) -> str:
    """Runs `refault report seed-thread` beside the stack; the verdicts, and where the rest is.

    Raises:
        StackError: it failed, or a part of the stack did.
    """
    folder = stack.folder.path(FOLDER)
    paths = [str(path.resolve()) for path in traces]
    process = stack.run_beside(
        "review", "-m", "refault.cli.main", "report", "seed-thread", *paths, "--out", str(folder)
    )
    while process.exit_code is None:
        stack.watch()
        pause()
    if process.exit_code:
        raise process.failure(f"ended with {describe_exit(process.exit_code)}")
    told = json.loads((folder / "seed-thread.json").read_text(encoding="utf-8"))
    return verdicts(told, folder)


def verdicts(told: dict[str, Any], folder: Path) -> str:
    """The verdict on each patch as posted, one paragraph each; ``told`` is the report as JSON."""
    title = "The thread of 12 April 2010, held against these guests"
    lines = [title, "-" * len(title), ""]
    for patch in told["patches"]:
        verdict = patch["forms"][0]["verdict"]
        lines += layout.wrap(
            f"{patch['name']}, {patch['title']}: {verdict['text']}. {verdict['why']}",
            WIDTH,
            indent="  ",
        )
    lines += ["", "What each breaks and why, what was said of it, the other forms, commands:"]
    return "\n".join([*lines, f"  {folder / 'seed-thread.txt'} (and .html, .md, .json)"]) + "\n"

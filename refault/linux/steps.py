"""What GCC's driver would start, one command each: behind the walls nothing starts anything.

``gcc -c`` starts a compiler and an assembler, and ``gcc`` a linker by way of collect2. The driver
is asked which (``-###`` prints the commands and runs none), and each is run by itself, so that the
walls can refuse every new process: whatever a source makes a compiler do, there is one of it.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from refault.errors import NoCompiler
from refault.linux.confine import environment

_COLLECT = "collect2"
#: For link-time optimisation, which is off; a linker would load code for them.
_PLUGIN = ("-plugin", "-plugin-opt")


def steps_of(command: Sequence[str], work: Path) -> list[list[str]]:
    """The commands that a command of GCC's driver stands for, in order.

    Raises:
        NoCompiler: the driver says something else than commands.
    """
    driver, *words = command
    try:
        done = subprocess.run(
            [driver, "-###", *words],
            cwd=work,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        # Commands are indented; what the driver tells of itself is not.
        lines = [line for line in done.stderr.splitlines() if line.startswith(" ")]
        found = [shlex.split(line) for line in lines]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise NoCompiler(f"{driver} does not say what it would run: {error}") from error
    if not found:
        raise NoCompiler(f"{driver} does not say what it would run: only GCC is supported")
    return [_linker(step) if Path(step[0]).name == _COLLECT else step for step in found]


def _linker(step: Sequence[str]) -> list[str]:
    """What collect2 would start."""
    kept, words = ["ld"], iter(step[1:])
    for word in words:
        if word == _PLUGIN[0]:
            next(words, None)
        elif not word.startswith(f"{_PLUGIN[1]}="):
            kept.append(word)
    return kept


def replaced(step: Sequence[str], old: str, new: str) -> list[str]:
    """The command with another name for a file: the driver's own lie where nobody may write."""
    return [new if word == old else word for word in step]


def output_of(step: Sequence[str]) -> str:
    """What a command writes."""
    return step[step.index("-o") + 1]

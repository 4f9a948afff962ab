"""Programs of this machine, packed for a guest with the libraries they are linked with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refault.capture.archive import Entry
from refault.errors import CaptureError

_LIBRARY: Final = re.compile(r"(?:=>\s+)?(/\S+)\s+\(0x[0-9a-f]+\)")
_SECONDS_MAX: Final = 60
_ELF_CLASS: Final = 4
_MODULES_OF_A_SCRIPT: Final = """
import json, sys
exec(sys.argv[1])
files = {getattr(m, "__file__", None) for m in list(sys.modules.values())}
files |= {getattr(m, "__cached__", None) for m in list(sys.modules.values())}
print(json.dumps(sorted(f for f in files if f)))
"""


def find_program(name: str, package: str) -> Path:
    """The program on PATH, its links followed.

    Raises:
        CaptureError: there is none; names the package that has it.
    """
    path = shutil.which(name)
    if path is None:
        raise CaptureError(
            f"this workload needs {name} on this machine: install the package {package}, or choose "
            "another --workload"
        )
    return Path(path).resolve()


def elf_bits(path: Path) -> int:
    """64 or 32 for an ELF file, else 0.

    Raises:
        CaptureError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.read(_ELF_CLASS + 1)
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error
    if not first.startswith(b"\x7fELF"):
        return 0
    return {1: 32, 2: 64}.get(first[_ELF_CLASS], 0)


def with_libraries(*programs: Path) -> dict[str, Entry]:
    """The programs under their own paths, and every shared library they load.

    Raises:
        CaptureError: a program is no 64-bit ELF file, or ldd does not understand it.
    """
    entries = {}
    for program in programs:
        if not elf_bits(program):
            raise CaptureError(f"{program} is no program but a script; it cannot be packed")
        entries[str(program)] = Entry(program.resolve())
        for library in _libraries(program):
            entries[library] = Entry(Path(library).resolve())
    return entries


def _libraries(program: Path) -> list[str]:
    told = _ask(["ldd", str(program)], may_fail=True)
    if "not found" in told:
        raise CaptureError(f"{program} misses libraries on this machine: {told.strip()[:200]}")
    return [os.path.normpath(path) for path in _LIBRARY.findall(told)]


def compiler_parts() -> tuple[Path, dict[str, Entry]]:
    """GCC's driver, and all that it runs to make an object of a source that includes nothing."""
    driver = find_program("gcc", "gcc")
    entries = with_libraries(driver)
    for name in ("cc1", "as", "ld"):
        told = _ask([str(driver), f"-print-prog-name={name}"]).strip()
        found = find_program(told, "binutils" if told == name else "gcc")
        entries |= with_libraries(found)
        if told == name:  # GCC looks for it on PATH, under this name
            entries[f"/usr/bin/{name}"] = Entry(found)
    return driver, entries


def python_parts(script: str) -> tuple[Path, Path, dict[str, Entry]]:
    """This Python, where its library lies, and every file that ``script`` imports."""
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    home = Path(sys.base_prefix)
    told = _ask([str(program), "-I", "-S", "-c", _MODULES_OF_A_SCRIPT, script])
    files = [Path(name) for name in json.loads(told)]
    files += [Path(os.__file__)]  # by which Python finds its library
    native = [path for path in files if path.suffix == ".so"]
    entries = with_libraries(program, *native)
    entries |= {str(path): Entry(path) for path in files if path.is_file()}
    return program, home, entries


def _ask(command: Sequence[str], *, may_fail: bool = False) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS_MAX,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CaptureError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode and not may_fail:
        raise CaptureError(f"{command[0]} fails: {done.stderr.strip()[:300]}")
    return done.stdout + done.stderr

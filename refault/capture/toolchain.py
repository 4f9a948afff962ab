"""Compiles the plugin and the guest's programs, once: builds are kept by what they are made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refault.capture.distributions import how_to_install, read_os_release
from refault.errors import CaptureError

_HERE: Final = Path(__file__).parent
_PLUGIN: Final = ("capture.c", "instructions.h", "qemu_api.h", "state.h", "tables.h")
_FREESTANDING: Final = (
    *("-O1", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-pic", "-fno-pie"),
    *("-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-nostdlib", "-static"),
    "-Wl,--build-id=none",
)
_SECONDS_MAX: Final = 120


def cache_folder() -> Path:
    """Where builds are kept: ``$XDG_CACHE_HOME/refault/capture``, or below ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "refault" / "capture"


def build_plugin(api: int) -> Path:
    """The plugin for QEMU's interface of this version (4 stands for 4 to 6).

    Raises:
        CaptureError: there is no compiler, or it fails.
    """
    sources = [_HERE / "plugin" / name for name in _PLUGIN]
    flags = (f"-DQAPI={api}", "-O3", "-shared", "-fPIC", "-Wall")
    return _built(f"plugin-{api}.so", sources, flags)


def build_work(bits: int) -> Path:
    """The program that does a guest's work, for guests of 64 or 32 bits.

    Raises:
        CaptureError: there is no compiler, or it cannot compile for such guests.
    """
    return _built(f"work-{bits}", [_HERE / "inside" / "work.c"], (f"-m{bits}", *_FREESTANDING))


def find_compiler() -> str:
    """The C compiler: ``$CC``, cc, gcc or clang.

    Raises:
        CaptureError: there is none.
    """
    wanted = os.environ.get("CC", "").split()
    for name in (*wanted[:1], "cc", "gcc", "clang"):
        if path := shutil.which(name):
            return path
    remedy = how_to_install("compiler", read_os_release())
    raise CaptureError(f"no C compiler to build the plugin for QEMU with: {remedy}")


def _built(name: str, sources: Sequence[Path], flags: Sequence[str]) -> Path:
    compiler = find_compiler()
    version = _run([compiler, "--version"]).partition("\n")[0]
    digest = hashlib.sha256("\0".join((name, version, *flags)).encode())
    for source in sources:
        digest.update(source.read_bytes())
    place = cache_folder() / f"{digest.hexdigest()[:24]}-{name}"
    if place.is_file():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=place.parent, prefix="build-")
    except OSError as error:
        raise CaptureError(
            f"{place.parent} cannot be written: {error.strerror}; set XDG_CACHE_HOME to a folder "
            "that can"
        ) from error
    with scratch as folder:
        made = Path(folder) / name
        _run([compiler, *flags, "-o", str(made), str(sources[0])])
        made.chmod(0o755)
        made.replace(place)
    return place


def _run(command: Sequence[str]) -> str:
    """What a compiler prints.

    Raises:
        CaptureError: it fails; with its first messages.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS_MAX,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise CaptureError(f"{command[0]} cannot be run: {error}; set CC to a compiler") from error
    if done.returncode:
        told = "\n".join(done.stderr.strip().splitlines()[:8])
        raise CaptureError(
            f"{command[0]} cannot build {Path(command[-1]).name}: {told or 'it says nothing'}"
        )
    return done.stdout

"""Finds a QEMU that can capture: by loading the plugin, never by its version."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refault.capture.distributions import how_to_install, read_os_release
from refault.capture.toolchain import build_plugin
from refault.errors import CaptureError

PROGRAM: Final = "qemu-system-x86_64"
OLDEST_API: Final = 4  # of QEMU 9.2: the first that hands over stored values
CHANGED_API: Final = 7  # of QEMU 11
_SECONDS_MAX: Final = 30
_TOLD: Final = re.compile(r"refault plugin interface (\d+) to (\d+), (\S+)")
_MINIMUM: Final = re.compile(r"this QEMU supports only a minimum version of (\d+)")
_MAXIMUM: Final = re.compile(r"this QEMU supports only up to version (\d+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Qemu:
    """One QEMU and the plugin built for it. ``api`` is the newest interface it knows."""

    path: str
    version: str
    api: int
    plugin: Path


def find_qemu(wanted: str = "", extra: Sequence[str] = ()) -> Qemu:
    """The QEMU to capture with: ``wanted``, or the one on PATH; ``extra`` goes before its options.

    Raises:
        CaptureError: there is none, it is too old, or the plugin does not load.
    """
    path = shutil.which(wanted or PROGRAM)
    if path is None:
        raise CaptureError(
            f"there is no {wanted or PROGRAM}: {how_to_install('qemu', read_os_release())}"
        )
    version = _version(path)
    for api in (OLDEST_API, CHANGED_API):
        plugin = build_plugin(api)
        told = _probe(path, plugin, extra)
        if found := _TOLD.search(told):
            return Qemu(path, version, int(found[2]), plugin)
        if (newest := _MAXIMUM.search(told)) or "undefined symbol" in told:
            knows = f"plugin interface {newest[1]}" if newest else "an older plugin interface"
            raise CaptureError(
                f"{path} is QEMU {version} with {knows}; 9.2 or newer, with {OLDEST_API} or more, "
                f"is needed: {how_to_install('qemu', read_os_release())}"
            )
        if not _MINIMUM.search(told):
            raise CaptureError(
                f"the plugin does not load into {path} (QEMU {version}): "
                f"{_first_line(told) or 'QEMU says nothing'}; it must be built with plugins"
            )
    raise CaptureError(
        f"{path} (QEMU {version}) is newer than this release knows: {_first_line(told)}; use "
        "QEMU 9.2 to 11"
    )


@functools.cache
def _version(path: str) -> str:
    line = _first_line(_run([path, "--version"]))
    return line.removeprefix("QEMU emulator version ") or "of unknown version"


def _probe(path: str, plugin: Path, extra: Sequence[str]) -> str:
    bare = ("-machine", "none", "-nodefaults", "-display", "none", "-accel", "tcg")
    return _run([path, *extra, *bare, "-plugin", f"{escaped(str(plugin))},probe=1"])


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CaptureError(
            f"{command[0]} cannot be run: {error}; name another one with --qemu"
        ) from error
    return done.stdout + done.stderr


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def escaped(value: str) -> str:
    """A value inside an option of QEMU, where a comma ends it."""
    return value.replace(",", ",,")

"""Keeps the part of Debian's kernel sources that tests build: python -m tools.trees FOLDER.

Each package is downloaded, packed by ``refault kernel pack`` and thrown away; nothing is installed.
Where a package cannot be had, the tests that build it are skipped by name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from refault.errors import KernelError
from refault.linux.build import pack
from refault.linux.headers import READS
from refault.linux.store import Store
from refault.linux.tree import opened
from refault.linux.units import TREE_UNITS

PACKAGES = ("linux-source-6.1", "linux-source-6.12")


def main() -> None:
    """Pack what is not there yet."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "packed"
    if not stamp.is_file() or stamp.read_text() != _what_is_packed():
        for place in folder.glob("*.tar.xz"):
            place.unlink()
        stamp.write_text(_what_is_packed())
    for name in PACKAGES:
        place = folder / f"{name}.tar.xz"
        if not place.is_file() and (reason := _keep(name, place)):
            print(f"no {name} here ({reason}), so the tests that build it will be skipped")


def _what_is_packed() -> str:
    """Which files of a tree are read; with others, packs are made anew."""
    return "\n".join((*TREE_UNITS, *READS))


def _keep(name: str, place: Path) -> str:
    """Download and pack one; answers why it could not be."""
    if shutil.which("apt-get") is None:
        return "no apt-get"
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        print(f"downloading {name} (once)", flush=True)
        done = subprocess.run(
            ["apt-get", "download", name],  # noqa: S607
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        packages = list(Path(scratch).glob("*.deb"))
        if done.returncode or not packages:
            lines = done.stderr.strip().splitlines()
            return lines[-1] if lines else "apt-get download failed"
        try:
            with opened(packages[0], Path(scratch)) as tree:
                pack(tree, Store(), place)
        except KernelError as error:
            return str(error)
    return ""


if __name__ == "__main__":
    main()

"""Keeps what captured guests are made of: python -m tools.guests FOLDER [amd64 | i386]...

Debian's kernels for virtual machines and its static busybox are downloaded and unpacked, not
installed: ``FOLDER/amd64`` and ``FOLDER/i386`` with ``boot/vmlinuz-…`` and ``bin/busybox`` in each.
What cannot be had is told, and the tests that need it are skipped by name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: The kernels of each architecture: packages whose name begins ``linux-image-`` and a release, and
#: ends so.
KERNELS = {"amd64": ("-cloud-amd64",), "i386": ("-686", "-686-pae")}
BUSYBOX = "busybox-static"


def main() -> None:
    """Download what is not there yet."""
    folder, *wanted = sys.argv[1:]
    for architecture in wanted or ["amd64"]:
        place = Path(folder).resolve() / architecture
        if not (place / "bin" / "busybox").is_file() and (reason := keep(architecture, place)):
            print(f"no {architecture} guest here ({reason}); captures of one will be skipped")


def keep(architecture: str, place: Path) -> str:
    """Download and unpack one architecture's parts; answers why that could not be."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        return "no apt-get"
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        print(f"downloading kernels and busybox of {architecture} (once)", flush=True)
        apt = Apt(Path(scratch), architecture)
        apt.run("apt-get", "update")  # a source that is not there leaves the others
        names = [BUSYBOX, *map(apt.newest, KERNELS[architecture])]
        if not all(names):
            return "its sources have no such kernel"
        if reason := apt.run("apt-get", "download", *names):
            return reason
        unpacked = Path(scratch) / "unpacked"
        for package in Path(scratch).glob("*.deb"):
            if reason := unpack(package, unpacked):
                return reason
        shutil.rmtree(place, ignore_errors=True)
        unpacked.replace(place)
    return ""


class Apt:
    """apt with a state of its own, so that another architecture changes nothing here."""

    def __init__(self, root: Path, architecture: str) -> None:
        self.root = root
        for name in ("lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        (root / "status").write_text("")
        options = {
            "Dir::State": str(root),
            "Dir::State::Lists": str(root / "lists"),
            "Dir::State::Status": str(root / "status"),
            "Dir::Cache": str(root / "cache"),
            "APT::Architecture": architecture,
            "APT::Sandbox::User": "root",
        }
        lines = [f'{name} "{value}";' for name, value in options.items()]
        lines.append(f'APT::Architectures {{ "{architecture}"; }};')
        (root / "apt.conf").write_text("\n".join(lines) + "\n")

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What a command of apt prints."""
        return subprocess.run(
            command,
            cwd=self.root,
            env={"PATH": "/usr/bin:/bin", "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *command: str) -> str:
        """Run a command of apt; answers why it failed."""
        done = self.ask(*command)
        lines = done.stderr.strip().splitlines()
        return "" if done.returncode == 0 else (lines or [f"{command} failed"])[-1]

    def newest(self, ending: str) -> str:
        """The package of the newest kernel whose name ends so, or an empty string."""
        names = self.ask("apt-cache", "pkgnames", "linux-image-").stdout.split()
        pattern = re.compile(rf"linux-image-\d+\.\d+\.\d+(-\d+|\+deb\d+)?{re.escape(ending)}")
        found = [name for name in names if pattern.fullmatch(name)]
        return max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default="")


def unpack(package: Path, folder: Path) -> str:
    """A package's ``boot`` and ``bin``; answers why not."""
    folder.mkdir(exist_ok=True)
    commands: Sequence[Sequence[str]] = (
        ["dpkg-deb", "--fsys-tarfile", str(package)],
        ["tar", "-x", "-C", str(folder), "--wildcards", "./boot/vmlinuz*", "./bin/*"],
    )
    with subprocess.Popen(commands[0], stdout=subprocess.PIPE) as listing:
        # tar fails for the pattern that a package has nothing of.
        subprocess.run(commands[1], stdin=listing.stdout, stderr=subprocess.DEVNULL, check=False)
    return "" if any(folder.rglob("*")) else f"{package.name} has no kernel and no busybox"


if __name__ == "__main__":
    main()

"""Keeps a QEMU that can capture, where the machine has none: python -m tools.qemu FOLDER.

Debian 12 has one in its backports only. The package and what it needs beyond what is installed are
downloaded and unpacked into ``FOLDER``, with a script ``bin/qemu-system-x86_64`` that starts it
from there; nothing is installed. Where that cannot be, the tests that capture are skipped by name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from refault.capture.distributions import read_os_release
from refault.capture.qemu import PROGRAM, find_qemu
from refault.errors import CaptureError
from tools.guests import Apt

PACKAGE = "qemu-system-x86"
STATUS = Path("/var/lib/dpkg/status")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOO_OLD = "bookworm"
SCRIPT = f"""#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu \\
  exec "$here/usr/bin/{PROGRAM}" -L "$here/usr/share/qemu" -L "$here/usr/share/seabios" \\
  -L "$here/usr/lib/ipxe/qemu" "$@"
"""


def main() -> None:
    """Download it, if none is here yet."""
    folder = Path(sys.argv[1]).resolve()
    if (folder / "bin" / PROGRAM).is_file():
        return
    try:
        find_qemu()
    except CaptureError:
        if reason := keep(folder, STATUS):
            print(f"no QEMU that captures here ({reason}), so the tests that capture are skipped")


def keep(folder: Path, status: Path) -> str:
    """Download and unpack it beside what ``status`` says is installed; answers why not."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))) or not status.is_file():
        return "no apt-get"
    suite = read_os_release().get("VERSION_CODENAME", "")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        print("downloading a QEMU that can capture (once)", flush=True)
        apt = Apt(Path(scratch), "amd64")
        shutil.copyfile(status, apt.root / "status")
        chosen = []
        if suite == TOO_OLD:
            line = f"deb [signed-by={KEYS}] http://deb.debian.org/debian {suite}-backports main\n"
            (apt.root / "backports.list").write_text(line)
            with (apt.root / "apt.conf").open("a") as conf:
                conf.write(f'Dir::Etc::SourceList "{apt.root / "backports.list"}";\n')
            chosen = ["-t", f"{suite}-backports"]
        apt.run("apt-get", "update")  # a source that is not there leaves the others
        wanted = ("--yes", "--download-only", "--no-install-recommends", *chosen, PACKAGE)
        if reason := apt.run("apt-get", "install", *wanted):
            return reason
        unpacked = Path(scratch) / "unpacked"
        for package in (apt.root / "cache" / "archives").glob("*.deb"):
            unpacking = ["dpkg-deb", "-x", str(package), str(unpacked)]
            if subprocess.run(unpacking, check=False).returncode:
                return f"{package.name} cannot be unpacked"
        if not (unpacked / "usr" / "bin" / PROGRAM).is_file():
            return f"{PACKAGE} holds no {PROGRAM}"
        (unpacked / "bin").mkdir(exist_ok=True)
        script = unpacked / "bin" / PROGRAM
        script.write_text(SCRIPT)
        script.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.replace(folder)
    return ""


if __name__ == "__main__":
    main()

"""Which package has what a capture needs, for the distribution this machine runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

OS_RELEASE: Final = Path("/etc/os-release")

#: Where the distribution is of no known family.
_ELSEWHERE: Final = {
    "qemu": "install QEMU 9.2 or newer with qemu-system-x86_64 (built with plugins, the default)",
    "compiler": "install a C compiler (gcc or clang)",
    "busybox": "install a statically linked busybox",
    "kernel": "give a kernel with --kernel (a bzImage, as /boot/vmlinuz-…)",
}
_APT: Final = {
    "qemu": "apt-get install qemu-system-x86",
    "compiler": "apt-get install gcc",
    "busybox": "apt-get install busybox-static",
    "kernel": "apt-get download linux-image-cloud-amd64 and the package it depends on, "
    "dpkg -x it into a folder, and give its boot/vmlinuz-… with --kernel",
}
_DNF: Final = {
    "qemu": "dnf install qemu-system-x86-core",
    "compiler": "dnf install gcc",
    "busybox": "dnf install busybox",
    "kernel": "give a kernel with --kernel (/lib/modules/…/vmlinuz)",
}
_DEBIAN_TOO_OLD: Final = 12
_UBUNTU_NEW_ENOUGH: Final = 25.10
_FEDORA_NEW_ENOUGH: Final = 42


def read_os_release(path: Path = OS_RELEASE) -> dict[str, str]:
    """The fields of an os-release file; empty where there is none.

    The format is that of os-release(5): shell assignments.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        name, is_assigned, value = line.partition("=")
        if is_assigned and not name.startswith("#"):
            try:
                found[name.strip()] = " ".join(shlex.split(value))
            except ValueError:
                found[name.strip()] = value
    return found


def how_to_install(what: str, release: Mapping[str, str]) -> str:
    """The command that installs ``qemu``, ``compiler``, ``busybox`` or ``kernel`` here."""
    name = release.get("ID", "")
    family = {name, *release.get("ID_LIKE", "").split()}
    if what == "qemu" and (special := _qemu(name, _version(release))):
        return special
    if family & {"debian", "ubuntu"}:
        return _APT[what]
    if family & {"fedora", "rhel"}:
        return _DNF[what]
    return _ELSEWHERE[what]


def _qemu(name: str, version: float) -> str:
    if name == "debian" and version == _DEBIAN_TOO_OLD:
        return (
            "apt-get install -t bookworm-backports qemu-system-x86 (Debian 12's own 7.2 is too "
            "old; bookworm-backports must be among its sources: https://backports.debian.org)"
        )
    if name == "debian" and version and version < _DEBIAN_TOO_OLD:
        return "Debian 11 and older have none that is new enough; use Debian 12 or newer"
    if name == "ubuntu" and version and version < _UBUNTU_NEW_ENOUGH:
        return (
            "Ubuntu has QEMU 9.2 or newer from 25.10 on; use that, for example in a container, "
            "or build QEMU from source and name it with --qemu"
        )
    if name == "fedora" and version and version < _FEDORA_NEW_ENOUGH:
        return "Fedora has QEMU 9.2 or newer from 42 on; use that, for example in a container"
    return ""


def _version(release: Mapping[str, str]) -> float:
    try:
        return float(release.get("VERSION_ID", ""))
    except ValueError:
        return 0.0

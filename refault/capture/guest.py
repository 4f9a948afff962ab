"""The guest that the command builds itself: an initramfs of busybox and a workload."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Final

from refault.capture.archive import Entry, console, write_archive
from refault.capture.distributions import how_to_install, read_os_release
from refault.capture.marker import marker
from refault.capture.programs import elf_bits
from refault.capture.toolchain import build_work
from refault.capture.workloads import Workload
from refault.errors import CaptureError

BUSYBOX: Final = "/bin/busybox"
_INIT: Final = Path(__file__).parent / "inside" / "init.sh"


@dataclasses.dataclass(frozen=True, slots=True)
class Initramfs:
    """What an archive was made of; ``path`` is where it stands."""

    path: Path
    size_bytes: int
    busybox: Path


def find_busybox(wanted: Path | None, bits: int) -> Path:
    """A busybox that a guest of so many bits can run without any library.

    Raises:
        CaptureError: there is none, or it needs libraries.
    """
    remedy = how_to_install("busybox", read_os_release())
    told = wanted or next(
        (Path(path) for path in (BUSYBOX, shutil.which("busybox") or "") if Path(path).is_file()),
        None,
    )
    if told is None:
        raise CaptureError(f"there is no busybox to build a guest of: {remedy}")
    found = elf_bits(told)
    if not found:
        raise CaptureError(f"{told} is no program; give a static busybox with --busybox")
    if found > bits:
        raise CaptureError(
            f"the kernel is of {bits} bits and {told} of {found}: give a static busybox of {bits} "
            "bits with --busybox (Debian: dpkg --add-architecture i386, apt-get update, apt-get "
            "download busybox-static:i386, dpkg -x it into a folder)"
        )
    if _needs_libraries(told):
        raise CaptureError(f"{told} needs shared libraries; a static one is needed: {remedy}")
    return told


def build_initramfs(
    path: Path, workload: Workload, *, bits: int, scale: int, busybox: Path | None
) -> Initramfs:
    """Write the archive of a guest that runs a workload.

    Raises:
        CaptureError: something that it needs is missing on this machine.
    """
    if workload.needs_64_bit and bits != 64:
        raise CaptureError(
            f"--workload {workload.name} packs 64-bit programs of this machine and the kernel is "
            "of 32 bits; choose boot, fork, exec or many"
        )
    found = find_busybox(busybox, bits)
    script = workload.make(scale)
    entries = {
        "/init": Entry(_INIT.read_bytes()),
        "/workload": Entry(script.text.encode()),
        "/bin/busybox": Entry(found.resolve()),
        "/bin/mark": Entry(marker(bits)),
        "/bin/work": Entry(build_work(bits)),
        "/dev/console": console(),
        **script.files,
    }
    try:
        with path.open("wb") as file:
            size = write_archive(file, entries)
    except OSError as error:
        raise CaptureError(
            f"{path} cannot be written: {error.strerror}; set TMPDIR to a folder with more room"
        ) from error
    return Initramfs(path, size, found)


def _needs_libraries(path: Path) -> bool:
    """Whether the ELF file names an interpreter (a program header of type PT_INTERP)."""
    data = path.read_bytes()
    is_64 = elf_bits(path) == 64
    start = int.from_bytes(data[0x20:0x28] if is_64 else data[0x1C:0x20], "little")
    at = (0x36, 0x38) if is_64 else (0x2A, 0x2C)
    size, count = (int.from_bytes(data[place : place + 2], "little") for place in at)
    kinds = (data[start + size * i :][:4] for i in range(min(count, 64)))
    return any(int.from_bytes(kind, "little") == 3 for kind in kinds)

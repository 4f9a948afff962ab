"""Kernels to boot: which there are, and what the header of a bzImage says.

The header is that of the x86 boot protocol (Documentation/arch/x86/boot.rst)::

    0x1fe  55 aa
    0x202  "HdrS" │ 0x206  protocol version u16
    0x20e  u16: where its release stands, less 0x200
    0x236  u16: bit 0 a 64-bit kernel, bit 5 one that can have five levels of tables
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Final

from refault.capture.distributions import how_to_install, read_os_release
from refault.errors import CaptureError
from refault.printable import printable

_READ_BYTES: Final = 1 << 16
_HEADER_END: Final = 0x238
_SIGNATURE: Final = slice(0x202, 0x206)
_PROTOCOL_WITH_FLAGS: Final = 0x20C
_IS_64_BIT: Final = 1
_RELEASE_CHARACTERS: Final = 120


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """One bzImage. ``release`` is what ``uname -r`` says in the guest."""

    path: Path
    release: str
    bits: int
    sha256: str


def read_kernel(path: Path) -> Kernel:
    """What a kernel image says of itself.

    Raises:
        CaptureError: it cannot be read, or is no bzImage.
    """
    try:
        with path.open("rb") as file:
            first = file.read(_READ_BYTES)
    except OSError as error:
        remedy = (
            "run as a user that may read it, or copy it with sudo"
            if isinstance(error, PermissionError)
            else "give another one with --kernel"
        )
        raise CaptureError(f"{path} cannot be read: {error.strerror}; {remedy}") from error
    if len(first) < _HEADER_END or first[_SIGNATURE] != b"HdrS":
        raise CaptureError(
            f"{path} is no bzImage of an x86 kernel (no HdrS at byte 0x202); "
            "give one as it stands in /boot"
        )
    protocol = int.from_bytes(first[0x206:0x208], "little")
    flags = int.from_bytes(first[0x236:0x238], "little")
    is_64_bit = protocol >= _PROTOCOL_WITH_FLAGS and flags & _IS_64_BIT
    return Kernel(path, _release(first), 64 if is_64_bit else 32, file_sha256(path))


def _release(first: bytes) -> str:
    at = int.from_bytes(first[0x20E:0x210], "little")
    text = first[at + 0x200 :][:_RELEASE_CHARACTERS].split(b"\0")[0] if at else b""
    words = text.decode("ascii", "replace").split()
    return printable(words[0]) if words else "unknown"


def find_kernel(folder: Path = Path("/boot"), running: str | None = None) -> Path:
    """A kernel of this machine: the running one's image, or the newest.

    Raises:
        CaptureError: there is none.
    """
    running = os.uname().release if running is None else running
    found = sorted(folder.glob("vmlinuz-*"), key=lambda path: _numbers(path.name))
    found += [path for path in (Path(f"/lib/modules/{running}/vmlinuz"),) if path.is_file()]
    if not found:
        raise CaptureError(f"no kernel in {folder}: {how_to_install('kernel', read_os_release())}")
    exact = [path for path in found if path.name == f"vmlinuz-{running}"]
    return (exact or found)[-1]


def _numbers(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hex.

    Raises:
        CaptureError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CaptureError(f"{path} cannot be read: {error.strerror}") from error

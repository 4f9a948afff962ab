"""A cpio archive of the kind the kernel unpacks as its initramfs ("newc"), written directly.

An entry is a header of 110 ASCII characters, the name with a NUL, and the content, each padded to
four bytes (Documentation/driver-api/early-userspace/buffer-format.rst). Nothing of this machine
goes in: owners are root, times are 0, so equal files make equal bytes.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from refault.errors import CaptureError

FILE_BYTES_MAX: Final = 1 << 30
_NOTHING: Final = b"\0\0\0"
_COPY_BYTES: Final = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive: bytes, a file of this machine, or what a symbolic link says."""

    content: bytes | Path = b""
    mode: int = stat.S_IFREG | 0o755
    device: tuple[int, int] = (0, 0)


def folder() -> Entry:
    """A folder; folders above an entry need not be named."""
    return Entry(mode=stat.S_IFDIR | 0o755)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry(target.encode(), stat.S_IFLNK | 0o777)


def console() -> Entry:
    """The device that a first program writes to."""
    return Entry(mode=stat.S_IFCHR | 0o600, device=(5, 1))


def write_archive(file: BinaryIO, entries: Mapping[str, Entry]) -> int:
    """Write the entries by their absolute paths; answers the size in bytes.

    Raises:
        CaptureError: a file cannot be read, or is too large.
        OSError: the archive cannot be written.
    """
    size = 0
    for number, (name, entry) in enumerate(_with_folders(entries), start=1):
        size += _write_entry(file, number, name, entry)
    size += _write_entry(file, 0, "TRAILER!!!", Entry(mode=0))
    return size


def _with_folders(entries: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """The entries in order, each after the folders it lies in."""
    every = dict(entries)
    for name in entries:
        for parent in PurePosixPath(name).parents:
            if str(parent) != "/":
                every.setdefault(str(parent), folder())
    for name in sorted(every):
        yield name.lstrip("/"), every[name]


def _write_entry(file: BinaryIO, number: int, name: str, entry: Entry) -> int:
    size = _size_of(entry.content)
    fields = (number, entry.mode, 0, 0, 1, 0, size, 0, 0, *entry.device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    written = _write_padded(file, head)
    if isinstance(entry.content, bytes):
        return written + _write_padded(file, entry.content)
    with _opened(entry.content) as source:
        left = size
        while left and (data := source.read(min(left, _COPY_BYTES))):
            file.write(data)
            left -= len(data)
    if left:
        raise CaptureError(f"{entry.content} became shorter while it was packed; try again")
    file.write(_NOTHING[: -size % 4])
    return written + size + -size % 4


def _write_padded(file: BinaryIO, data: bytes) -> int:
    padded = data + _NOTHING[: -len(data) % 4]
    file.write(padded)
    return len(padded)


def _size_of(content: bytes | Path) -> int:
    if isinstance(content, bytes):
        return len(content)
    with _opened(content) as source:
        size = source.seek(0, 2)
    if size > FILE_BYTES_MAX:
        raise CaptureError(f"{content} has {size} bytes; a file of a guest has 1 GiB at most")
    return size


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CaptureError(f"{path} cannot be packed for the guest: {error.strerror}") from error

"""A packed tree from a stranger: what may be in it, and how much, before it is unpacked.

``refault kernel pack`` writes one. Only its own kind is taken here: a small archive holds all that
a build reads, and a whole tree would be a gigabyte of what nobody reads.
"""

from __future__ import annotations

import dataclasses
import lzma
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from refault.errors import NotATree
from refault.linux.headers import release_in
from refault.linux.tree import MMU, PARTS, PREIMAGES

PACKED_BYTES_MAX = 16 << 20
"""Size of an archive; that of a tree as it is read today is below 2 MB."""
UNPACKED_BYTES_MAX = 64 << 20
FILES_MAX = 8192
_MEMORY_BYTES = 128 << 20
_PATH_MAX = 256
_CHUNK = 1 << 16
_RELEASE = re.compile(r"[1-9][0-9A-Za-z._+-]{1,63}")
_MAKEFILE_BYTES = 1 << 20


# What tarfile reads before a file's own header. Of long ones it searches in quadratic time, and of
# a chain of them it reads each within the one before.
_EXTENDED = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
_EXTENDED_BYTES_MAX = 4096
# tarfile lets more than its own errors out of what it cannot read.
_DAMAGES = (
    tarfile.TarError,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Packed:
    """What an archive says of itself."""

    release: str
    file_count: int
    unpacked_bytes: int


def examine(path: Path) -> Packed:
    """Read an archive from its beginning to its end, in bounded memory, and keep nothing.

    Raises:
        NotATree: it is no archive of a tree, or more than one may be; with the remedy.
    """
    count = total = 0
    release = ""
    has_mmu = False
    top = ""
    try:
        with path.open("rb") as raw, _opened(stream := _Bounded(raw)) as archive:
            for member in archive:
                count += 1
                total += member.size
                if count > FILES_MAX or total > UNPACKED_BYTES_MAX:
                    raise NotATree(_TOO_MUCH)
                name = _name_in(member, top)
                top = top or member.name.split("/", 1)[0]
                has_mmu = has_mmu or name == MMU
                if name == "Makefile":
                    release = _release_of(archive, member)
            stream.drain()
    except _DAMAGES as error:
        raise NotATree(f"no .tar.xz of a tree: {error}; {_REMEDY}") from error
    if not release or not has_mmu:
        raise NotATree(f"no tree: it has no {'Makefile' if not release else MMU}; {_REMEDY}")
    return Packed(release, count, total)


def unpack(path: Path, into: Path) -> Path:
    """Unpack an archive into an empty folder; answers the top directory of the tree.

    Raises:
        NotATree: see :func:`examine`, which is asked first.
    """
    examine(path)
    try:
        with path.open("rb") as raw, _opened(_Bounded(raw)) as archive:
            for member in archive:
                archive.extract(member, into, filter="data")
    except _DAMAGES as error:
        raise NotATree(f"the tree cannot be unpacked: {error}") from error
    return next(into.iterdir())


_REMEDY = "make one with: refault kernel pack TREE FILE.tar.xz"
_TOO_MUCH = (
    f"more than {FILES_MAX} files or {UNPACKED_BYTES_MAX >> 20} MiB: only what a build reads is "
    f"taken; {_REMEDY}"
)


def _name_in(member: tarfile.TarInfo, top: str) -> str:
    """The name of a file below the tree's top directory."""
    parts = PurePosixPath(member.name).parts
    is_plain = member.isreg() and not member.issparse() and member.name.isprintable()
    is_plain = is_plain and len(member.name) <= _PATH_MAX
    if not is_plain or len(parts) < 2 or ".." in parts or parts[0] == "/":  # noqa: PLR2004
        raise NotATree(f"{member.name[:80]!r} is no plain file below one directory; {_REMEDY}")
    if top and parts[0] != top:
        raise NotATree(f"two directories at the top: {top[:80]!r}, {parts[0][:80]!r}; {_REMEDY}")
    name = "/".join(parts[1:])
    if not any(name == part or name.startswith(f"{part}/") for part in (*PARTS, PREIMAGES)):
        raise NotATree(f"{name[:80]!r} is nothing that a build reads; {_REMEDY}")
    return name


def _release_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    text = stream.read(_MAKEFILE_BYTES).decode(errors="replace") if stream is not None else ""
    release = release_in(text)
    if not _RELEASE.fullmatch(release):
        raise NotATree(f"its Makefile does not say which release it is; {_REMEDY}")
    return release


class _Bounded:
    """What an .xz holds, to be read once; decompression stops beyond the bounds."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
        self._total = 0

    def read(self, size: int) -> bytes:
        """The next bytes, as many as are wanted unless it ends."""
        found = bytearray()
        while len(found) < size and not self._decoder.eof:
            more = b""
            if self._decoder.needs_input:
                more = self._raw.read(_CHUNK)
                if not more:
                    raise EOFError("it ends before its end")
            found += self._decoder.decompress(more, size - len(found))
        self._total += len(found)
        # Each file has a head of 512 bytes and is filled up to a multiple of that.
        if self._total > UNPACKED_BYTES_MAX + FILES_MAX * 1024 + (1 << 20):
            raise NotATree(_TOO_MUCH)
        return bytes(found)

    def drain(self) -> None:
        """Read on to the end, behind what an archive says is its last file."""
        while self.read(_CHUNK):
            pass
        if self._decoder.unused_data or self._raw.read(1):
            raise NotATree(f"bytes follow the archive's end; {_REMEDY}")


def _opened(stream: _Bounded) -> tarfile.TarFile:
    class Head(_Head):
        """The headers of this archive."""

    # tarfile calls nothing of it but read().
    return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", tarinfo=Head)


class _Head(tarfile.TarInfo):
    """A header as tarfile reads it, refused before it believes a size."""

    extended_in_a_row = 0

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        is_extended = found.type in _EXTENDED
        cls.extended_in_a_row = cls.extended_in_a_row + 1 if is_extended else 0
        is_long = is_extended and found.size > _EXTENDED_BYTES_MAX
        if found.size < 0 or is_long or cls.extended_in_a_row > 2:  # noqa: PLR2004
            raise NotATree(f"its headers are none of a tree's; {_REMEDY}")
        return found

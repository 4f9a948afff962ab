"""What traces of DynamoRIO are packed in, and the mapping file beside them."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from refault.errors import ImportFailed
from refault.trace.importers.source import Source, open_source
from refault.trace.importers.streams import USER_END

PAGE_BITS: Final = 12
CHUNKS_MAX: Final = 1 << 16
MAPPINGS_MAX: Final = 1 << 20
MAPPING_BYTES_MAX: Final = 256 << 20
MAPPING_NAME: Final = "v2p.textproto"
ZIP: Final = b"PK\x03\x04"
_PIECE: Final = 1 << 20
_BEGINNING: Final = 64
_LOCAL_HEADER: Final = 30
# zipfile's words for what it cannot read: NotImplementedError is a compression that it does not
# know, RuntimeError an archive under a password, OSError a place before the file's beginning.
_DAMAGES: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)


def first_of_zip(first: bytes) -> bytes:
    """How the first file in a zip begins."""
    if len(first) < _LOCAL_HEADER:
        return b""
    method, name_size, extra_size = (
        int.from_bytes(first[at : at + 2], "little") for at in (8, 26, 28)
    )
    data = first[_LOCAL_HEADER + name_size + extra_size :]
    if method == zipfile.ZIP_STORED:
        return data[:_BEGINNING]
    if method != zipfile.ZIP_DEFLATED:
        return b""
    try:
        return zlib.decompressobj(wbits=-15).decompress(data, _BEGINNING)
    except zlib.error:
        return b""


@contextmanager
def content_of(path: Path, progress: Callable[[int], None] | None) -> Iterator[Source]:
    """The records of a file, whatever they are packed in."""
    with path.open("rb") as file:
        is_zip = file.read(4) == ZIP
    if not is_zip:
        with open_source(path, progress) as source:
            yield source
        return
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGES as error:
        raise ImportFailed(
            f"{path}: its zip archive is damaged ({error}); copy it again"
        ) from error
    with archive:
        yield Source(path, _chunks_of(path, archive, progress))


def _chunks_of(
    path: Path, archive: zipfile.ZipFile, progress: Callable[[int], None] | None
) -> Iterator[bytes]:
    """The content of all files of an archive, in its order."""
    chunks = archive.infolist()
    if len(chunks) > CHUNKS_MAX:
        raise ImportFailed(f"{path}: {len(chunks)} files in the archive, {CHUNKS_MAX} are read")
    read = 0
    for chunk in chunks:
        held = 0
        try:
            with archive.open(chunk) as file:
                while data := file.read(_PIECE):
                    held += len(data)
                    yield data
        except _DAMAGES as error:
            raise ImportFailed(
                f"{path}: {chunk.filename!a} in the archive is damaged ({error}); copy it again"
            ) from error
        if held != chunk.file_size:
            raise ImportFailed(
                f"{path}: {chunk.filename!a} in the archive is said to hold {chunk.file_size} "
                f"bytes and holds {held}; copy it again"
            )
        read += chunk.compress_size
        if progress is not None:
            progress(read)


_PAIR: Final = re.compile(
    rb"virtual_address\s*:\s*(\d{1,20}|0x[0-9a-fA-F]{1,16})\s+"
    rb"physical_address\s*:\s*(\d{1,20}|0x[0-9a-fA-F]{1,16})"
)
_PAGE_SIZE: Final = re.compile(rb"page_size\s*:\s*(\d{1,20})")


def mapping_beside(path: Path) -> dict[int, int]:
    """Virtual page → physical page, from the mapping file of a trace; empty if there is none.

    Raises:
        ImportFailed: it is too long, has other pages, or cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    places = (folder, folder / "aux", folder.parent / "aux")
    found = next((each / MAPPING_NAME for each in places if (each / MAPPING_NAME).is_file()), None)
    if found is None:
        return {}
    try:
        if found.stat().st_size > MAPPING_BYTES_MAX:
            raise ImportFailed(f"{found}: longer than {MAPPING_BYTES_MAX} bytes; move it away")
        text = found.read_bytes()
    except OSError as error:
        raise ImportFailed(f"{found} cannot be read: {error.strerror}") from error
    sizes = {int(each) for each in _PAGE_SIZE.findall(text)}
    if sizes - {1 << PAGE_BITS}:
        raise ImportFailed(
            f"{found}: pages of {sorted(sizes)} bytes; only mappings of pages of 4096 are read; "
            "move it away to import the trace without it"
        )
    pairs = _PAIR.findall(text)
    if len(pairs) > MAPPINGS_MAX:
        raise ImportFailed(f"{found}: {len(pairs)} pages; at most {MAPPINGS_MAX} are read")
    mapping: dict[int, int] = {}
    for virtual, physical in pairs:
        place = _whole(virtual)
        if place < USER_END:
            mapping[place >> PAGE_BITS] = _whole(physical) >> PAGE_BITS
    return mapping


def _whole(text: bytes) -> int:
    return int(text, 0) if text.startswith(b"0x") else int(text)

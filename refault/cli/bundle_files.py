"""Bundles as files: opened, added to, and replaced as a whole or not at all."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refault.bundle import Bundle, layout
from refault.bundle.writer import entry_of
from refault.errors import BundleError, InvalidRequest

_CHUNK_BYTES = 1 << 20


@contextmanager
def opened(file: Path) -> Iterator[Bundle]:
    """The bundle in a file; every error of it names the file."""
    try:
        stream = file.open("rb")
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error
    with stream:
        try:
            yield Bundle.open(stream)
        except BundleError as error:
            raise BundleError(f"{file}: {error}") from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to: it takes its name at the end, or goes."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise InvalidRequest(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def copied(source: Path, partial: Path) -> None:
    """A copy to add to; through no link that somebody has put in its place."""
    partial.unlink(missing_ok=True)
    with source.open("rb") as read, partial.open("xb") as write:
        shutil.copyfileobj(read, write, _CHUNK_BYTES)


class Additions:
    """More files of one bundle, after its others; the list at its end is written once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._folder = folder

    def add(self, name: str, file: Path) -> None:
        """One more file."""
        entry = entry_of(f"{self._folder}/{name}")
        # Captures are compressed already.
        entry.compress_type = zipfile.ZIP_STORED
        entry.file_size = file.stat().st_size
        with self._archive.open(entry, "w") as inside, file.open("rb") as stream:
            shutil.copyfileobj(stream, inside, _CHUNK_BYTES)


@contextmanager
def additions(target: Path) -> Iterator[Additions]:
    """Adds to a bundle, in the folder that its files are in."""
    with opened(target) as bundle:
        folder = bundle.folder
    with zipfile.ZipFile(target, "a") as archive:
        yield Additions(archive, folder)


def capture_of(digest: str) -> str:
    """The name of a trace inside of a bundle."""
    return f"{layout.CAPTURES}{digest}.rft"

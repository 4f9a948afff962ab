"""The mails that a command line names: files, folders of patches, maildirs, standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from refault import series
from refault.errors import SeriesError
from refault.series import BYTES_MAX, MAILS_MAX
from refault.trace.importers.recognition import Kind, look

STANDARD_INPUT = "-"
_FROM = re.compile(r">*From ")
# What another verb reads, or nobody.
_NO_MAIL = {Kind.TRACE, Kind.DAMAGED_TRACE, Kind.IMPORTABLE, Kind.RESULT, Kind.EMPTY}


def contents(paths: Sequence[Path]) -> list[bytes]:
    """What each file holds, folders by the names of their files; bounded before it is read.

    Raises:
        SeriesError: a file cannot be read, there are too many, or they are too large.
    """
    found: list[bytes] = []
    left = BYTES_MAX
    for path in paths:
        for data in _of(path, left):
            left -= len(data)
            if left < 0:
                raise SeriesError(f"{path}: more than {BYTES_MAX} bytes of mail: read one series")
            if len(found) == MAILS_MAX:
                raise SeriesError(f"{path}: more than {MAILS_MAX} files: read one series")
            found.append(data)
    return found


def as_one(files: Sequence[bytes], version: int | None = None) -> bytes:
    """The series of several files as one mbox, each patch a mail; ``version`` as in ``read``.

    Raises:
        SeriesError: see :func:`refault.series.read`.
    """
    found = series.read(list(files), version)
    mails = []
    for place, mail in enumerate(found.patches, 1):
        lines = [
            "From refault@localhost Thu Jan  1 00:00:00 1970",
            f"From: {mail.author}",
            f"Subject: [PATCH {place}/{len(found.patches)}] {mail.subject}",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
            "",
            # An mbox takes the first sign of it away again.
            *(f">{line}" if _FROM.match(line) else line for line in mail.text.split("\n")),
        ]
        mails.append("\n".join(lines))
    return "\n".join(mails).encode("utf-8", "replace")


def _of(path: Path, left: int) -> Iterator[bytes]:
    try:
        if str(path) == STANDARD_INPUT:
            yield sys.stdin.buffer.read(left + 1)
        elif path.is_dir():
            files = _files(path)
            if not files:
                raise SeriesError(f"{path}: the folder has no files: name one with mails")
            for file in files:
                yield _read(file, left)
        else:
            found = look(path)
            if found.kind in _NO_MAIL or (found.kind is Kind.FOREIGN and not found.is_text):
                raise SeriesError(found.refusal())
            yield _read(path, left)
    except OSError as error:
        raise SeriesError(f"{path}: {error.strerror}") from error


def _files(folder: Path) -> list[Path]:
    """The files of a folder by name; of a maildir those of ``cur`` and ``new``."""
    kept = [folder / name for name in ("cur", "new") if (folder / name).is_dir()] or [folder]
    return sorted(
        (file for part in kept for file in part.iterdir() if _is_wanted(file)),
        key=lambda file: file.name,
    )


def _is_wanted(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _read(file: Path, left: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(left + 1)

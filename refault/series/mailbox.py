"""Cuts a file into mails: mbox in its dialects, single mails, patch files, ``git log -p``."""

from __future__ import annotations

import codecs
import datetime
import email.utils
import re
from collections.abc import Iterator

from refault.errors import SeriesError
from refault.series.budget import DEPTH_MAX, Budget

GZIP = b"\x1f\x8b"
_PACKED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_HEADER = re.compile(rb"[!-9;-~]{1,100}:")
_COMMIT = re.compile(rb"commit [0-9a-f]{7,64}(?: \([^)]{0,500}\))?$")
_FROM_SPACE = b"From "
_FROM_LENGTH_MIN = 20
_DATE_LENGTH_MAX = 100
# public-inbox writes "From mboxrd@z Thu Jan  1 00:00:00 1970".
_YEAR_MIN = 1970
_BOUNDARY = re.compile(rb'(?i)boundary\s{0,9}=\s{0,9}"?([^";\s]{1,200})')


def cut(data: bytes, budget: Budget) -> Iterator[list[bytes]]:
    """The mails of a file, each as its lines without their ends.

    A file that begins with a ``From `` line is an mbox; a mail that begins otherwise is one
    mail, and what follows a ``From `` line is another unless it stands in a part of the first.

    Raises:
        SeriesError: packed by something else than gzip, or over a bound.
    """
    lines = _lines(data, budget)
    if lines and _COMMIT.match(lines[0]):
        mails = _commits(lines)
    elif lines:
        mails = _mbox(lines)
    else:
        return
    for mail in mails:
        budget.take_mail()
        yield mail


def is_mail(lines: list[bytes]) -> bool:
    """Whether the lines begin as a mail or an mbox does, with a subject among its headers."""
    for index, line in enumerate(lines):
        if line[:8].lower() == b"subject:":
            return True
        is_first = index == 0 and is_from_line(line)
        if not (is_first or is_header(line) or (index and line[:1] in {b" ", b"\t"})):
            return False
    return False


def is_header(line: bytes) -> bool:
    """Whether a line has the form ``Name: value``."""
    return _HEADER.match(line) is not None


def is_from_line(line: bytes) -> bool:
    """Whether a line separates mails, by the rule of git: a time, and a year after it."""
    if not line.startswith(_FROM_SPACE) or len(line) < _FROM_LENGTH_MIN:
        return False
    colon = line.rfind(b":")
    clock, year = line[colon - 5 : colon + 3], line[colon + 3 :].split()
    return (
        colon > len(_FROM_SPACE)
        and clock[2:3] == b":"
        and clock.replace(b":", b"").replace(b" ", b"0").isdigit()
        and any(len(word) == 4 and word.isdigit() and int(word) >= _YEAR_MIN for word in year[:3])  # noqa: PLR2004
    )


def without_mark(data: bytes) -> bytes:
    """Bytes that begin with a byte order mark, in UTF-8 and without it; others as they are."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace").encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _lines(data: bytes, budget: Budget) -> list[bytes]:
    for _ in range(DEPTH_MAX):
        if data.startswith(GZIP):
            data = budget.gunzip(data)
    for magic, name in _PACKED.items():
        if data.startswith(magic):
            raise SeriesError(f"the file is packed by {name}: unpack it first")
    data = without_mark(data)
    budget.take_lines(data)
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    first = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    return lines[first:]


def _mbox(lines: list[bytes]) -> Iterator[list[bytes]]:
    """At each separator a mail begins; ``>From `` in it loses its sign."""
    mail: list[bytes] = []
    reader = _Place()
    for index, line in enumerate(lines):
        if (
            is_from_line(line)
            and index + 1 < len(lines)
            and (index == 0 or _heads_a_mail(lines, index + 1))
            and not reader.begins_a_part
        ):
            if any(mail):
                yield mail
            mail, reader = [], _Place()
            continue
        reader.take(line)
        mail.append(line[1:] if _is_quoted(line) else line)
    if any(mail):
        yield mail


def _heads_a_mail(lines: list[bytes], index: int) -> bool:
    """Whether a header stands here; some programs quote the separator of a copy above it."""
    line = lines[index]
    if line.startswith(b">From ") and index + 1 < len(lines):
        line = lines[index + 1]
    return is_header(line)


def _is_quoted(line: bytes) -> bool:
    return line[:1] == b">" and line.lstrip(b">").startswith(_FROM_SPACE)


class _Place:
    """Where in a mail a line stands: an attached patch has a ``From `` line of its own."""

    def __init__(self) -> None:
        self._boundary = b""
        self._in_headers = True
        self._in_part_headers = False
        self.begins_a_part = False

    def take(self, line: bytes) -> None:
        self.begins_a_part = False
        if self._in_headers:
            if not self._boundary and (found := _BOUNDARY.search(line[:1_000])):
                self._boundary = b"--" + found[1]
            self._in_headers = line != b""
        elif self._boundary and line.rstrip() == self._boundary:
            self._in_part_headers = True
        elif self._in_part_headers and line == b"":
            self._in_part_headers, self.begins_a_part = False, True


def _commits(lines: list[bytes]) -> Iterator[list[bytes]]:
    """``git show`` and ``git log -p``, each commit as the mail it would be; the oldest first."""
    commits: list[list[bytes]] = []
    for line in lines:
        if _COMMIT.match(line):
            commits.append([])
        else:
            commits[-1].append(line)
    mails = [_as_mail(commit) for commit in commits]
    first, last = (date_of(mails[at][1].partition(b":")[2].decode("latin-1")) for at in (0, -1))
    yield from reversed(mails) if first and last and first > last else mails


def date_of(text: str) -> datetime.datetime | None:
    """The date of a header, with UTC where it names no zone; None if it is no date."""
    try:
        found = email.utils.parsedate_to_datetime(text[:_DATE_LENGTH_MAX])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _as_mail(commit: list[bytes]) -> list[bytes]:
    """Author, date and subject of a commit as the headers of a mail."""
    head: dict[bytes, bytes] = {}
    body = 0
    for body, line in enumerate(commit):  # noqa: B007
        name, colon, value = line.partition(b":")
        if not colon or line[:1] == b" ":
            break
        head[name] = value.strip()
    words = [line[4:] for line in commit[body:] if line.startswith(b"    ")]
    subject = words[0] if words else b""
    return [
        b"From: " + head.get(b"Author", b""),
        b"Date: " + head.get(b"AuthorDate", head.get(b"Date", b"")),
        b"Subject: [PATCH] " + subject,
        b"",
        *commit[body:],
    ]

"""A trace file on its way from the service: kept as it comes, checked, then given its name.

::

    NAME.part   what has come so far; another attempt goes on behind its last byte
    NAME        the whole file, and its digest was right

A bundle is made anew for each request, and so is fetched whole (:class:`Saving`).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from refault.client import answers
from refault.errors import DigestMismatch, InvalidRequest, Refused
from refault.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIZE_DIGITS = 18
CHUNK_BYTES = 256 * 1024


# A length counts the bytes as they are, and a packed answer has others.
_AS_IT_IS = {"accept-encoding": "identity"}


class Saving:
    """An answer on its way into a file, which appears whole or not at all.

    ``InvalidRequest`` where it cannot be written.
    """

    headers: ClassVar[dict[str, str]] = _AS_IT_IS

    def __init__(self, target: Path) -> None:
        self.target = target
        self._part = target.with_name(f"{target.name}.part")
        self._left = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            self._stream = os.fdopen(os.open(self._part, flags, 0o666), "wb")
        except OSError as error:
            raise InvalidRequest(f"{self._part}: cannot be written: {error.strerror}") from error

    def begin(self, response: httpx.Response) -> None:
        """Look at how much a good answer brings; ``Refused`` if it is packed."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise answers.not_ours(response, "answered in an encoding that was not asked for")
        self._left = _length_of(response)
        _check_room(self._part, self._left)

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes; ``Refused`` if they are more than were announced."""
        self._left -= len(chunk)
        if self._left < 0:
            raise Refused("more bytes came than were announced", status=HTTPStatus.OK, problem={})
        try:
            self._stream.write(chunk)
        except OSError as error:
            raise InvalidRequest(f"{self._part}: cannot be written: {error.strerror}") from error

    def finish(self) -> None:
        """Give the file its name; ``Refused`` if bytes are missing."""
        self._stream.close()
        if self._left:
            message = f"the answer ended {self._left} bytes early: ask again"
            raise Refused(message, status=HTTPStatus.OK, problem={})
        self._part.replace(self.target)

    def close(self) -> None:
        """Let go of the file; one that is not whole goes."""
        with suppress(OSError):
            self._stream.close()
            self._part.unlink(missing_ok=True)


class Download:
    """One file on its way; ``size_bytes`` of it are here, ``total_bytes`` None until it is known.

    ``InvalidRequest`` where it cannot be written.
    """

    def __init__(self, target: Path, digest: str) -> None:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest(f"{printable(digest)[:80]}: not a sha256 in lower-case hex")
        self.target = target
        self.digest = digest
        self.total_bytes: int | None = None
        self._part = target.with_name(f"{target.name}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Through no link that somebody else has put there.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._stream = os.fdopen(os.open(self._part, flags, 0o666), "ab+")
            self._stream.seek(0)
            self._hash = hashlib.file_digest(self._stream, "sha256")
        except OSError as error:
            raise InvalidRequest(f"{self._part}: cannot be written: {error.strerror}") from error
        self.size_bytes = self._stream.tell()

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the rest; the bytes as they are, for a range counts those."""
        headers = dict(_AS_IT_IS)
        if self.size_bytes:
            headers |= {"range": f"bytes={self.size_bytes}-", "if-range": f'"{self.digest}"'}
        return headers

    def has_all(self, response: httpx.Response) -> bool:
        """Whether the service answers that nothing is left to send."""
        return response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE

    def begin(self, response: httpx.Response) -> None:
        """Look at what a good answer brings: the rest, or all of it again."""
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            self._restart()
        length = _length_of(response)
        self.total_bytes = self.size_bytes + length
        _check_room(self._part, length)

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes; ``Refused`` if they are more than were announced."""
        if self.size_bytes + len(chunk) > (self.total_bytes or 0):
            message = f"more than the {self.total_bytes} bytes came that were announced"
            raise Refused(message, status=HTTPStatus.OK, problem={})
        try:
            self._stream.write(chunk)
        except OSError as error:
            raise InvalidRequest(f"{self._part}: cannot be written: {error.strerror}") from error
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def finish(self) -> None:
        """Give the file its name; ``DigestMismatch`` if it is not what was asked for."""
        self._stream.close()
        found = self._hash.hexdigest()
        if found != self.digest:
            self._part.unlink()
            raise DigestMismatch(
                f"the bytes that came have the digest {found[:12]}, not {self.digest[:12]}; "
                "nothing was kept: download again"
            )
        self._part.replace(self.target)

    def close(self) -> None:
        """Let go of the file; what has come stays for the next attempt."""
        with suppress(OSError):
            self._stream.close()

    def _restart(self) -> None:
        self._stream.truncate(0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0


def _length_of(response: httpx.Response) -> int:
    length = response.headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal() and len(length) <= _SIZE_DIGITS):
        raise answers.not_ours(response, "sends a file and does not say how long it is")
    return int(length)


def _check_room(path: Path, length: int) -> None:
    free_bytes = shutil.disk_usage(path.parent).free
    if length > free_bytes:
        raise InvalidRequest(
            f"{path}: {length} bytes are to come, and its disk has room for {free_bytes}"
        )

"""Forms with files (multipart/form-data, RFC 7578), read as they come in.

Nothing is kept: the bytes of a file are handed on chunk by chunk, so that a form of any size takes
the memory of one chunk.
"""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

from refault.errors import InvalidRequest

_TYPE = "multipart/form-data"
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"content-disposition:\s*form-data\s*;([^\r\n]*)", re.IGNORECASE)
_PARAMETER = re.compile(rb'\b(name|filename)="([^"]*)"', re.IGNORECASE)
_HEADERS_MAX = 8_192
PARTS_MAX = 50


class Part(NamedTuple):
    """One field of a form; ``filename`` is None unless it is a file, empty if none was chosen."""

    name: str
    filename: str | None


class FormReader:
    """Reads the parts of a form in their order.

    Raises:
        InvalidRequest: the body is no such form, or ends within it.
    """

    def __init__(
        self, content_type: str, chunks: AsyncIterator[bytes], *, parts_max: int = PARTS_MAX
    ) -> None:
        found = _BOUNDARY.search(content_type)
        if not content_type.lower().startswith(_TYPE) or found is None:
            raise InvalidRequest(f"the form must be {_TYPE} with a boundary")
        self._delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
        self._chunks = chunks
        # The first delimiter has no line before it.
        self._held = bytearray(b"\r\n")
        self._is_within = True
        self._part_count = 0
        self._parts_max = parts_max

    async def next_part(self) -> Part | None:
        """The next part, after what is left of this one; None after the last."""
        async for _ in self.bytes_of_part():
            pass
        while len(self._held) < 2:  # noqa: PLR2004  # of the end of a line, or of the form
            await self._fill()
        if self._held.startswith(b"--"):
            return None
        self._part_count += 1
        if self._part_count > self._parts_max:
            raise InvalidRequest(f"the form has more than {self._parts_max} fields")
        self._is_within = True
        return _part_of(await self._headers())

    async def bytes_of_part(self) -> AsyncIterator[bytes]:
        """The bytes of this part, as they come."""
        while self._is_within:
            place = self._held.find(self._delimiter)
            if place >= 0:
                self._is_within = False
                piece = bytes(self._held[:place])
                del self._held[: place + len(self._delimiter)]
            else:
                # The beginning of a delimiter may be at the end of what there is.
                safe = max(0, len(self._held) - len(self._delimiter) + 1)
                piece = bytes(self._held[:safe])
                del self._held[:safe]
            if piece:
                yield piece
            if self._is_within:
                await self._fill()

    async def text_of_part(self, bytes_max: int) -> str:
        """The whole text of this part."""
        held = bytearray()
        async for piece in self.bytes_of_part():
            held += piece
            if len(held) > bytes_max:
                raise InvalidRequest(f"a field of the form has more than {bytes_max} bytes")
        try:
            return held.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest("a field of the form is not UTF-8") from error

    async def _headers(self) -> bytes:
        while (place := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _HEADERS_MAX:
                raise InvalidRequest(f"a field of the form has more than {_HEADERS_MAX} of headers")
            await self._fill()
        headers = bytes(self._held[:place])
        del self._held[: place + 4]
        # An empty part is followed by the delimiter of the next at once.
        return headers

    async def _fill(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise InvalidRequest("the form ended before its last field: send it again")
        self._held += chunk


def _part_of(headers: bytes) -> Part:
    line = _DISPOSITION.search(headers)
    given = {found[1].lower(): found[2] for found in _PARAMETER.finditer(line[1] if line else b"")}
    if b"name" not in given:
        raise InvalidRequest("a field of the form has no name")
    # Browsers write quotes and line ends of a name as %22, %0D and %0A.
    name, filename = (given.get(key) for key in (b"name", b"filename"))
    return Part(
        (name or b"").decode(errors="replace"),
        None if filename is None else filename.decode(errors="replace"),
    )

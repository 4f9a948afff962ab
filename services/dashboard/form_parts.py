"""Forms with a file (``multipart/form-data``), read whole into memory and never onto a disk."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from refault.printable import first_unprintable, printable

#: As much as a page may be sent at all (services/api/bodies.py).
BYTES_MAX = 1024 * 1024
_PARTS_MAX = 250
_TEXT_MAX = 2_000
_BOUNDARY = re.compile(r'boundary="?([0-9A-Za-z\'()+_,./:=?-]{1,70})"?\s*(?:;|$)')
_NAME = re.compile(rb'\bname="([^"\r\n]{1,100})"')
_FILE = re.compile(rb'\bfilename="([^"\r\n]{0,400})"')


class Form(NamedTuple):
    """The fields of a form, each once, and its files by the name of their field."""

    fields: dict[str, str]
    files: dict[str, bytes]


async def form_of(request: Request, *, long_fields: frozenset[str] = frozenset()) -> Form:
    """The form of a request; ``long_fields`` are texts of any length, in several lines.

    Raises:
        HTTPException: 413, 415 or 422, naming what is wrong.
    """
    kind = request.headers.get("content-type", "")
    found = _BOUNDARY.search(kind)
    if not kind.lower().startswith("multipart/form-data") or found is None:
        raise HTTPException(415, "a form with a file must be multipart/form-data")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BYTES_MAX:
            raise HTTPException(413, f"a form has at most {BYTES_MAX} bytes")
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, is_file, content in _parts(bytes(body), found[1].encode()):
        if is_file:
            files.setdefault(name, content)
        else:
            fields.setdefault(name, _text(name, content, is_long=name in long_fields))
    return Form(fields, files)


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bool, bytes]]:
    """Each part: its name, whether it is a file, and its bytes."""
    line = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(line)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):  # noqa: PLR2004 - what is before, an end
        raise HTTPException(422, "the form cannot be read: it has no end")
    if len(pieces) > _PARTS_MAX:
        raise HTTPException(422, f"a form has at most {_PARTS_MAX} fields")
    for piece in pieces[1:-1]:
        head, gap, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not gap or name is None:
            raise HTTPException(422, "the form cannot be read: a field has no name")
        yield name[1].decode(errors="replace"), _FILE.search(head) is not None, content


def _text(name: str, content: bytes, *, is_long: bool) -> str:
    try:
        text = content.decode()
    except ValueError as error:
        raise HTTPException(422, f"{printable(name)}: it is not UTF-8") from error
    if is_long:
        return text
    if len(text) > _TEXT_MAX:
        raise HTTPException(422, f"{printable(name)} has more than {_TEXT_MAX} characters")
    if first_unprintable(text) is not None:
        raise HTTPException(422, f"{printable(name)}: it has unprintable characters")
    return text

"""Forms with a small file, read whole into memory and never onto a disk."""

from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from refault.errors import InvalidRequest
from refault.printable import first_unprintable, printable
from services.dashboard.multipart import FormReader

#: As much as a page may be sent at all (services/api/bodies.py).
BYTES_MAX = 1024 * 1024
_PARTS_MAX = 250
_TEXT_MAX = 2_000


class Form(NamedTuple):
    """The fields of a form, each once, and its files by the name of their field."""

    fields: dict[str, str]
    files: dict[str, bytes]


async def form_of(request: Request, *, long_fields: frozenset[str] = frozenset()) -> Form:
    """The form of a request; ``long_fields`` are texts of any length, in several lines.

    Raises:
        HTTPException: 413 or 422, naming what is wrong.
    """
    form = Form({}, {})
    left = BYTES_MAX
    kind = request.headers.get("content-type", "")
    try:
        reader = FormReader(kind, aiter(request.stream()), parts_max=_PARTS_MAX)
        while (part := await reader.next_part()) is not None:
            content = bytearray()
            async for piece in reader.bytes_of_part():
                content += piece
                left -= len(piece)
                if left < 0:
                    raise HTTPException(413, f"a form has at most {BYTES_MAX} bytes")
            if part.filename is not None:
                form.files.setdefault(part.name, bytes(content))
            else:
                text = _text(part.name, content, is_long=part.name in long_fields)
                form.fields.setdefault(part.name, text)
    except InvalidRequest as error:
        raise HTTPException(422, str(error)) from error
    return form


def _text(name: str, content: bytearray, *, is_long: bool) -> str:
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

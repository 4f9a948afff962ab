"""What a sender says of an upload before its first byte: its size, its digest, and wishes."""

import base64
import binascii
import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from refault.errors import InvalidRequest
from services.api.refusals import UploadTooLarge
from services.api.schemas import LINES, Body
from services.api.texts import number_in
from services.api.traces.schemas import TAGS_MAX, Name, Note, Tag

# RFC 9530: a dictionary of algorithm=:base64:
_DIGEST_ENTRY = re.compile(r"sha-256=:([A-Za-z0-9+/]*={0,2}):")
_SHA256_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Wishes:
    """Name, tags and note from the sender; used if the trace is new."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


class _WishedWords(Body):
    name: Name | None
    tags: list[Tag] = Field(max_length=TAGS_MAX)
    note: Annotated[Note, LINES]


def as_wishes(*, name: str | None, tags: Sequence[str], note: str) -> Wishes:
    """The same from query or metadata strings, validated."""
    try:
        words = _WishedWords(name=name, tags=list(tags), note=note)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(f"{first['loc'][0]}: {first['msg']}") from None
    return Wishes(words.name, tuple(words.tags), words.note)


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What the sender announces before the first byte; None where it does not."""

    wishes: Wishes
    size_bytes: int | None
    digest: str | None


def announced(
    wishes: Wishes,
    *,
    content_length: str | None,
    content_digest: str | None,
    digest: str | None = None,
) -> Announcement:
    """The announcement in a request's headers; ``InvalidRequest`` if they cannot be read.

    ``digest`` is the one in the address, if any; the header must match it.
    """
    size_bytes = number_in(content_length)
    stated = _read_content_digest(content_digest)
    if digest is not None and stated not in {None, digest}:
        raise InvalidRequest(f"Content-Digest says {stated}, the address says {digest}")
    return Announcement(wishes, size_bytes, digest or stated)


def _read_content_digest(header: str | None) -> str | None:
    """The sha-256 of a ``Content-Digest`` header in hex; other algorithms are ignored."""
    if header is None or "sha-256=" not in header:
        return None
    match = _DIGEST_ENTRY.search(header)
    try:
        value = base64.b64decode(match.group(1), validate=True) if match else b""
    except binascii.Error:
        value = b""
    if len(value) != _SHA256_BYTES:
        raise InvalidRequest(
            "Content-Digest: expected sha-256=:<base64 of 32 bytes>: (RFC 9530), "
            f"got {header[:100]!r}"
        )
    return value.hex()


def too_large(what: str, limit_bytes: int) -> UploadTooLarge:
    """The error for an upload over the limit."""
    return UploadTooLarge(
        f"the upload is too large: {what}, and the limit of this service is {limit_bytes}"
    )

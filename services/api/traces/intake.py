"""What every way of uploading shares: what the sender says, how bytes come, how a trace is kept.

::

    request ── chunk ──► size ──► validator ──► incoming file
                           │          │              │ last chunk: digest agrees
                           ▼          ▼              ▼
                       413 / 422 with the byte     file in place, then the row, in one
                       nothing stays behind        transaction under the digest's lock

Everything here runs in a worker thread; how the chunks come there stands in ``taking.py``.
"""

import base64
import binascii
import dataclasses
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from db import orphans
from db.models import Trace
from db.repositories import operations, placements, traces
from refault.errors import (
    Conflict,
    DigestMismatch,
    InvalidRequest,
    UploadTooLarge,
)
from refault.trace import TraceValidator
from services.api.deps import Resources
from services.api.schemas import LINES, Body
from services.api.texts import number_in
from services.api.traces.schemas import NAME_LENGTH_MAX, TAGS_MAX, Name, Note, Tag, TraceDetail

# RFC 9530: a dictionary of algorithm=:base64:
_DIGEST_ENTRY = re.compile(r"sha-256=:([A-Za-z0-9+/]*={0,2}):")
_SHA256_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the sender wants a trace to be called and known by; used if the trace is new."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    note: str = ""


class _WishedWords(Body):
    name: Name | None
    tags: list[Tag] = Field(max_length=TAGS_MAX)
    note: Annotated[Note, LINES]


def as_wishes(*, name: str | None, tags: Sequence[str], note: str) -> Wishes:
    """Wishes that came as plain words, held to what such words may be."""
    try:
        words = _WishedWords(name=name, tags=list(tags), note=note)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(f"{first['loc'][0]}: {first['msg']}") from None
    return Wishes(words.name, tuple(words.tags), words.note)


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What the sender says of an upload before its first byte; None where it says nothing."""

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

    ``digest`` is the one in the address, if there is one; the header must not contradict it.
    """
    size_bytes = number_in(content_length)
    stated = _read_content_digest(content_digest)
    if digest is not None and stated not in {None, digest}:
        raise InvalidRequest(f"Content-Digest says {stated}, the address says {digest}")
    return Announcement(wishes, size_bytes, digest or stated)


def keep(
    resources: Resources,
    validator: TraceValidator,
    wishes: Wishes,
    *,
    digest: str | None,
    put: Callable[[str], None],
    also: Callable[[Session, Trace], None] = lambda _session, _trace: None,
) -> tuple[TraceDetail, bool]:
    """Make a trace of what the validator was fed; the trace, and whether it is new.

    ``put`` puts the file in place under the digest it is given; ``also`` is done in the transaction
    that writes the row. Where either fails, nothing of the upload stays.

    Raises:
        TraceError: the trace is not whole, or a replay of it would take more than it may.
        DigestMismatch: ``digest`` was announced, and another one arrived.
        Conflict: the same trace is being deleted right now, or it took too long to be stored.
    """
    summary = validator.close()
    if digest not in {None, summary.digest}:
        raise DigestMismatch(
            f"{summary.size_bytes} bytes arrived with sha256 {summary.digest}, "
            f"the sender announced {digest}"
        )
    columns = _columns(validator, wishes)
    resources.limits.check(
        "the trace",
        work=columns["statistics"]["work"],
        memory_bytes=columns["statistics"]["memory_bytes"],
    )
    # Known before it is in place: were we killed in between, the API takes it away again. Without
    # a database nothing is put anywhere.
    with resources.transaction() as session:
        placement = placements.begin(session, summary.digest)
    try:
        # Sending to a bucket takes its time, so no transaction is open meanwhile.
        put(summary.digest)
        with resources.transaction() as session:
            traces.lock_digest(session, summary.digest)
            row, is_new = traces.add(session, **columns)
            also(session, row)
            if is_new:
                operations.count(session, operations.UPLOADS)
                operations.count(session, operations.UPLOADED_BYTES, row.size_bytes)
            _end(session, placement, summary.digest)
            session.flush()
            return TraceDetail.model_validate(row), is_new
    except BaseException:
        _drop_orphan(resources, placement, summary.digest)
        raise


def _end(session: Session, placement: uuid.UUID, digest: str) -> None:
    if not placements.end(session, placement):
        raise Conflict(f"storing trace {digest} took so long that it was given up: upload it again")


def _drop_orphan(resources: Resources, placement: uuid.UUID, digest: str) -> None:
    """Remove a file whose row was not written; another upload of the same trace may have one."""
    orphans.drop(resources.engine, resources.blobs, placement, digest)


def _columns(validator: TraceValidator, wishes: Wishes) -> dict[str, Any]:
    summary, statistics, costs = validator.close(), validator.statistics, validator.costs
    header = dataclasses.asdict(summary.header)
    meanings = summary.header.workload_marks
    return {
        "digest": summary.digest,
        "name": wishes.name or summary.header.name[:NAME_LENGTH_MAX] or summary.digest[:12],
        "content": summary.header.content,
        "guest_mode": summary.header.guest_mode,
        "vcpu_count": summary.vcpu_count,
        "size_bytes": summary.size_bytes,
        "event_count": summary.event_count,
        "instruction_count": summary.instruction_count,
        "truncated": summary.truncated,
        "events_by_kind": dict(summary.events_by_kind),
        "header": header,
        "guest": dict(summary.header.guest),
        "tags": list(wishes.tags),
        "note": wishes.note,
        "statistics": {
            "address_space_count": statistics.address_space_count,
            "work": costs.work if costs else summary.event_count,
            "memory_bytes": costs.memory_bytes if costs else 0,
            "marks": [
                {"number": number, "count": count, "meaning": meanings.get(str(number), "")}
                for number, count in sorted(statistics.marks.items())
            ],
        },
    }


def _read_content_digest(header: str | None) -> str | None:
    """The sha-256 of a ``Content-Digest`` header in hex; other algorithms are left alone."""
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
    """What to raise when an upload is over the limit."""
    return UploadTooLarge(f"the upload is too large: {what}, and this service takes {limit_bytes}")

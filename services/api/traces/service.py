"""An upload: checked while it comes in, kept whole or not at all.

::

    request ── chunk ──► size ──► validator ──► incoming file
                           │          │              │ last chunk: digest agrees
                           ▼          ▼              ▼
                       413 / 422 with the byte     file in place, then the row, in one
                       nothing stays behind        transaction under the digest's lock

Everything here runs in a worker thread; only waiting for the next chunk goes
back to the event loop.
"""

import base64
import binascii
import dataclasses
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import anyio.from_thread

from db.blobs import IncomingBlob
from db.repositories import operations, traces
from refault.errors import (
    DigestMismatch,
    InvalidRequest,
    TraceCorrupt,
    Unavailable,
    UploadStalled,
    UploadTooLarge,
)
from refault.trace import TraceSummary, TraceValidator
from services.api.deps import Resources
from services.api.traces.schemas import TraceDetail

# RFC 9530: a dictionary of algorithm=:base64:
_DIGEST_ENTRY = re.compile(r"sha-256=:([A-Za-z0-9+/]*={0,2}):")
_SHA256_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What the sender says of an upload before its first byte; None where it says nothing."""

    name: str | None
    size_bytes: int | None
    digest: str | None


def announced(
    *, name: str | None, content_length: str | None, content_digest: str | None
) -> Announcement:
    """The announcement in a request's headers; ``InvalidRequest`` if they cannot be read."""
    size_bytes = int(content_length) if content_length and content_length.isdecimal() else None
    return Announcement(name, size_bytes, _read_content_digest(content_digest))


def chunks_from_thread(stream: AsyncIterator[bytes], idle_seconds: float) -> Iterator[bytes]:
    """The chunks of a body, for a worker thread; ``UploadStalled`` if one takes too long."""

    async def next_chunk() -> bytes | None:
        with anyio.fail_after(idle_seconds):
            return await anext(stream, None)

    received_bytes = 0
    while True:
        try:
            chunk = anyio.from_thread.run(next_chunk)
        except TimeoutError as error:
            raise UploadStalled(
                f"nothing came for {idle_seconds:g} s after byte {received_bytes}; nothing was kept"
            ) from error
        if chunk is None:
            return
        received_bytes += len(chunk)
        yield chunk


def receive(
    resources: Resources, chunks: Iterator[bytes], announcement: Announcement
) -> tuple[TraceDetail, bool]:
    """Take an upload; the trace, and whether it is new.

    Raises:
        TraceError: the bytes are no good trace; ``offset`` says from where on.
        UploadTooLarge, UploadStalled, DigestMismatch: see their names.
        Unavailable: the file could not be written, or the database not reached.
    """
    limit_bytes = resources.settings.upload_limit_bytes
    if announcement.size_bytes is not None and announcement.size_bytes > limit_bytes:
        raise _too_large(f"it has {announcement.size_bytes} bytes", limit_bytes)
    try:
        with ExitStack() as upload:
            incoming = upload.enter_context(resources.blobs.receive())
            validator = TraceValidator()
            for chunk in chunks:
                if incoming.size_bytes + len(chunk) > limit_bytes:
                    raise _too_large(f"it goes on after byte {limit_bytes}", limit_bytes)
                validator.feed(chunk)
                incoming.write(chunk)
            summary = validator.close()
            _check_arrival(incoming, announcement)
            return _keep(resources, incoming, summary, announcement.name, upload.close)
    except OSError as error:
        raise Unavailable(
            f"the trace cannot be stored: {error.strerror or error}; nothing was kept"
        ) from error


def _keep(
    resources: Resources,
    incoming: IncomingBlob,
    summary: TraceSummary,
    name: str | None,
    put_in_place: Callable[[], None],
) -> tuple[TraceDetail, bool]:
    digest = incoming.digest
    columns = _columns(summary, name)
    try:
        with resources.transaction() as session:
            traces.lock_digest(session, digest)
            if not resources.blobs.exists(digest):
                incoming.keep()
            put_in_place()
            row, is_new = traces.add(session, **columns)
            if is_new:
                operations.count(session, operations.UPLOADS)
                operations.count(session, operations.UPLOADED_BYTES, row.size_bytes)
            return TraceDetail.model_validate(row), is_new
    except BaseException:
        _drop_orphan(resources, digest)
        raise


def _drop_orphan(resources: Resources, digest: str) -> None:
    """Remove a file whose row was not written; another upload of the same trace may have one."""
    with resources.transaction() as session:
        traces.lock_digest(session, digest)
        if not traces.is_anywhere(session, digest):
            resources.blobs.delete(digest)


def _columns(summary: TraceSummary, name: str | None) -> dict[str, Any]:
    header = dataclasses.asdict(summary.header)
    if _has_nul(header):
        raise TraceCorrupt("the header holds a NUL character, which cannot be stored", offset=0)
    return {
        "digest": summary.digest,
        "name": name or summary.header.name or summary.digest[:12],
        "content": summary.header.content,
        "guest_mode": summary.header.guest_mode,
        "vcpu_count": summary.vcpu_count,
        "size_bytes": summary.size_bytes,
        "event_count": summary.event_count,
        "instruction_count": summary.instruction_count,
        "truncated": summary.truncated,
        "events_by_kind": dict(summary.events_by_kind),
        "header": header,
    }


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(_has_nul(part) for part in value)


def _check_arrival(incoming: IncomingBlob, announcement: Announcement) -> None:
    if announcement.digest is not None and incoming.digest != announcement.digest:
        raise DigestMismatch(
            f"{incoming.size_bytes} bytes arrived with sha256 {incoming.digest}, "
            f"Content-Digest says {announcement.digest}"
        )


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


def _too_large(what: str, limit_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"the upload is too large: {what}, and this service takes {limit_bytes}")

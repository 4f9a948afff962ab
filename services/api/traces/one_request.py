"""An upload in one request: checked while received, kept completely or not at all."""

from contextlib import ExitStack

from db.errors import QuotaExceeded
from db.repositories import traces
from refault.errors import Unavailable
from services.api.deps import Resources
from services.api.traces import keeping, quota
from services.api.traces.announcement import Announcement, too_large
from services.api.traces.quota import OpenUpload
from services.api.traces.schemas import TraceDetail
from services.api.traces.streaming import Taking


def receive(resources: Resources, announcement: Announcement) -> Taking[tuple[TraceDetail, bool]]:
    """Receive an upload; the trace, and whether it is new.

    Raises:
        TraceError: the bytes are not a valid trace; ``offset`` is the byte of the error.
        QuotaExceeded: the quota does not suffice.
        UploadTooLarge, DigestMismatch: see their names.
        Unavailable: the file could not be written, or the database not reached.
    """
    try:
        with ExitStack() as upload:
            mine = upload.enter_context(resources.open_uploads.one(resources.project_id))
            left_bytes = _room(resources, announcement, mine)
            incoming = upload.enter_context(resources.blobs.receive())
            validator = resources.validators.new(incoming.read)
            upload.callback(validator.abandon)
            while chunk := (yield):
                _bound(resources, incoming.size_bytes + len(chunk), left_bytes)
                mine.grow_to(incoming.size_bytes + len(chunk))
                incoming.write(chunk)
                validator.feed(chunk)
            placed = keeping.place(
                resources,
                validator,
                announcement.wishes,
                digest=announcement.digest,
                put=incoming.keep,
            )
        # No longer on its way: from here on its row counts against the quota.
        return keeping.write_row(resources, placed)
    except OSError as error:
        raise Unavailable(
            f"the trace cannot be stored: {error.strerror or error}; nothing was kept"
        ) from error


def _room(resources: Resources, announcement: Announcement, mine: OpenUpload) -> int | None:
    """Refuses an upload over the quota before its first byte; the bound on its bytes, if any."""
    size_bytes, limit_bytes = announcement.size_bytes, resources.settings.upload_limit_bytes
    if size_bytes is not None and size_bytes > limit_bytes:
        raise too_large(f"it has {size_bytes} bytes", limit_bytes)
    count, coming_bytes = resources.open_uploads.of(resources.project_id)
    others = (count - 1, coming_bytes)
    with resources.transaction() as session:
        if size_bytes is None:
            return quota.bytes_left(session, announcement.digest, others)
        # Without an announced digest it may still be an existing trace.
        if announcement.digest is not None or not traces.has_any_of_size(session, size_bytes):
            quota.check_announced(session, size_bytes, announcement.digest, others)
    mine.grow_to(size_bytes)
    return None


def _bound(resources: Resources, size_bytes: int, left_bytes: int | None) -> None:
    limit_bytes = resources.settings.upload_limit_bytes
    if size_bytes > limit_bytes:
        raise too_large(f"it is longer than {limit_bytes} bytes", limit_bytes)
    if left_bytes is not None and size_bytes > left_bytes:
        raise QuotaExceeded(
            f"the project has room for {left_bytes} bytes, the upload is longer; nothing was kept"
        )

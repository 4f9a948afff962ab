"""An upload in one request: checked while it comes in, kept whole or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack

from db.repositories import projects, traces
from refault.errors import Unavailable
from services.api.deps import Resources
from services.api.traces import intake
from services.api.traces.intake import Announcement, too_large
from services.api.traces.schemas import TraceDetail


def receive(
    resources: Resources, announcement: Announcement, chunks: Iterator[bytes]
) -> tuple[TraceDetail, bool]:
    """Take an upload; the trace, and whether it is new.

    Raises:
        TraceError: the bytes are no good trace; ``offset`` says from where on.
        QuotaExceeded: the project has no room for it.
        UploadTooLarge, UploadStalled, DigestMismatch: see their names.
        Unavailable: the file could not be written, or the database not reached.
    """
    limit_bytes = resources.settings.upload_limit_bytes
    if announcement.size_bytes is not None and announcement.size_bytes > limit_bytes:
        raise too_large(f"it has {announcement.size_bytes} bytes", limit_bytes)
    if announcement.size_bytes is not None:
        _check_room(resources, announcement.size_bytes)
    try:
        with ExitStack() as upload:
            incoming = upload.enter_context(resources.blobs.receive())
            validator = resources.validators.new(incoming.read)
            upload.callback(validator.abandon)
            for chunk in chunks:
                if incoming.size_bytes + len(chunk) > limit_bytes:
                    raise too_large(f"it goes on after byte {limit_bytes}", limit_bytes)
                incoming.write(chunk)
                validator.feed(chunk)

            def put(digest: str) -> None:
                incoming.keep(digest)
                upload.close()

            return intake.keep(
                resources,
                validator,
                announcement.wishes,
                digest=announcement.digest,
                put=put,
            )
    except OSError as error:
        raise Unavailable(
            f"the trace cannot be stored: {error.strerror or error}; nothing was kept"
        ) from error


def _check_room(resources: Resources, size_bytes: int) -> None:
    """Refuses before the first byte what is over the quota, and cannot be a trace that is here."""
    with resources.transaction() as session:
        if not traces.has_any_of_size(session, size_bytes):
            projects.check_room_for_trace(session, size_bytes)

"""Resumable uploads: several requests, each resuming where the last one ended.

::

    create ──► row, empty file ──► append ──► … ──► append ──► trace or tree, in one transaction
                                     │                             with the end of the row
              file beyond the offset │
              of the row is cut off ─┘

Bytes up to the offset in the row are safe: they are flushed to disk before the row is written.
Bytes that a killed server wrote beyond it are sent again. The writing request locks the file
(``appending.py``).
"""

import dataclasses
import logging
import uuid

from db.errors import UploadBusy, UploadGone
from db.models import Upload
from db.models.uploads import TREE
from db.repositories import uploads
from db.session import transaction
from refault.errors import Unavailable
from refault.linux.packed import PACKED_BYTES_MAX
from services.api.deps import Resources
from services.api.kernels.trees import TreeAppending
from services.api.refusals import WrongOffset
from services.api.traces import quota
from services.api.traces.announcement import too_large
from services.api.traces.streaming import Taking
from services.api.uploads.appending import TraceAppending, forget
from services.api.uploads.protocol import Announced, Checksum

_log = logging.getLogger("refault.api")


@dataclasses.dataclass(frozen=True)
class Part:
    """The part a request announces; ``size_bytes`` is None if it does not."""

    offset: int
    size_bytes: int | None = None
    checksum: Checksum | None = None


def create(
    resources: Resources,
    *,
    size_bytes: int,
    metadata_header: str,
    announced: Announced,
) -> Upload:
    """A new upload; the row is written first, so that no file exists without one.

    Refused at once where the project has no room for it: what is under way counts as if it were
    there already, or many that are never finished could take any quota.
    """
    limit_bytes = resources.settings.upload_limit_bytes
    if announced.is_tree:
        limit_bytes = min(limit_bytes, PACKED_BYTES_MAX)
    if size_bytes > limit_bytes:
        raise too_large(f"it has {size_bytes} bytes", limit_bytes)
    with resources.transaction() as session:
        quota.check_open_count(session, resources.settings.upload_open_count)
        coming = resources.open_uploads.of(resources.project_id)
        if announced.is_tree:
            quota.check_announced_tree(session, size_bytes, announced.digest, coming)
        else:
            quota.check_announced(session, size_bytes, announced.digest, coming)
        row = uploads.add(
            session,
            size_bytes=size_bytes,
            digest=announced.digest,
            metadata_header=metadata_header,
            wishes={"content": TREE} if announced.is_tree else dataclasses.asdict(announced.wishes),
            lives_seconds=resources.settings.upload_expire_seconds,
        )
    try:
        resources.blobs.incoming.create_partial(row.id)
    except OSError as error:
        with resources.transaction() as session:
            uploads.remove(session, row.id)
        raise _no_room(error) from error
    return row


def find(resources: Resources, upload_id: uuid.UUID) -> Upload:
    """The upload, if it is open or done; UploadGone names the reason otherwise."""
    with resources.transaction() as session:
        row = uploads.get(session, upload_id)
    if row.state == "refused":
        raise UploadGone(f"upload {upload_id} was refused: {row.error}")
    if row.state == "open" and resources.blobs.incoming.partial_bytes(upload_id) < row.offset_bytes:
        raise UploadGone(f"bytes of upload {upload_id} were lost: start a new one")
    return row


def append(resources: Resources, upload_id: uuid.UUID, part: Part) -> Taking[Upload]:
    """Receive a part; the upload after it.

    Raises:
        WrongOffset: the part does not begin where the last one ended.
        UploadBusy: another request writes to the upload.
        UploadTooLarge: it goes beyond the upload's length.
        ChecksumMismatch: it was damaged in transit and dropped.
        TraceError, NotATree, DigestMismatch: the bytes are no valid trace, or tree; the upload is
            over.
        QuotaExceeded: the quota no longer suffices; the upload is over, too.
        HTTPException, ClientDisconnect: the body broke off; its bytes are kept, unless the part
            has a checksum.
    """
    row = find(resources, upload_id)
    if row.state == "done":
        _check_place(row, part)
        return row
    try:
        with resources.blobs.incoming.open_partial(upload_id) as partial:
            # The previous holder of the lock may have written to the upload, or ended it.
            row = find(resources, upload_id)
            _check_place(row, part)
            partial.cut(row.offset_bytes)
            appending = TreeAppending if row.is_tree else TraceAppending
            yield from appending(resources, row, partial).take(part.checksum)
    except OSError as error:
        raise _no_room(error) from error
    return find(resources, upload_id)


def end(resources: Resources, upload_id: uuid.UUID) -> None:
    """Delete an upload and its bytes; what was made of it is kept."""
    with resources.transaction() as session:
        row = uploads.get(session, upload_id)
    if row.state == "open" and resources.blobs.incoming.has_partial(upload_id):
        with resources.blobs.incoming.open_partial(upload_id):
            forget(resources, upload_id)
    with resources.transaction() as session:
        uploads.remove(session, upload_id)


def sweep(resources: Resources) -> int:
    """Delete expired uploads of all projects, and files without a row; returns how many uploads.

    One that is being written to is left for the next sweep.
    """
    removed_count = 0
    with transaction(resources.engine) as session:
        found = uploads.expired(session)
    for upload_id in found:
        try:
            if resources.blobs.incoming.has_partial(upload_id):
                with resources.blobs.incoming.open_partial(upload_id):
                    forget(resources, upload_id)
        except (UploadBusy, UploadGone):
            continue
        with transaction(resources.engine) as session:
            uploads.remove(session, upload_id)
        removed_count += 1
    there = resources.blobs.incoming.partials()
    with transaction(resources.engine) as session:
        wanted = uploads.with_bytes(session, there)
    for upload_id in set(there) - wanted:
        forget(resources, upload_id)
    if removed_count:
        _log.info("%d uploads expired and were removed", removed_count)
    return removed_count


def _check_place(row: Upload, part: Part) -> None:
    if part.offset != row.offset_bytes:
        raise WrongOffset(
            f"the part begins at byte {part.offset}, upload {row.id} is at {row.offset_bytes}"
        )
    if part.size_bytes is not None and part.offset + part.size_bytes > row.size_bytes:
        raise too_large(
            f"the part ends at byte {part.offset + part.size_bytes}, the upload was announced "
            f"with {row.size_bytes}",
            row.size_bytes,
        )


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(
        f"the part cannot be stored: {error.strerror or error}; what was safe before is kept"
    )

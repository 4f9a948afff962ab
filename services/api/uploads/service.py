"""Resumable uploads: several requests, each resuming where the last one ended.

::

    create ──► row, empty file ──► append ──► … ──► append ──► trace, in one transaction
                                     │                             with the end of the row
              file beyond the offset │
              of the row is cut off ─┘

Bytes up to the offset in the row are safe: they are flushed to disk before the row is written.
Bytes that a killed server wrote beyond it are sent again. The writing request locks the file. The
validator may be a block behind the file, but not at the end of a request.
"""

import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Generator, Iterator
from typing import cast

from db.blobs import Partial
from db.errors import QuotaExceeded, UploadBusy, UploadGone
from db.models import Upload
from db.repositories import uploads
from db.session import transaction
from refault.errors import DigestMismatch, TraceError, Unavailable
from refault.trace import TraceValidator
from services.api.deps import Resources
from services.api.refusals import WrongOffset
from services.api.traces import keeping, quota
from services.api.traces.announcement import Wishes, too_large
from services.api.traces.streaming import Taking
from services.api.uploads.protocol import Checksum

# How much must be sent again after a server is killed; each flush also costs a transaction.
SAFE_EVERY_BYTES = 32 * 1024 * 1024

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
    wishes: Wishes,
    digest: str | None,
) -> Upload:
    """A new upload; the row is written first, so that no file exists without one.

    Refused at once where the project has no room for it: what is under way counts as if it were
    there already, or many that are never finished could take any quota.
    """
    limit_bytes = resources.settings.upload_limit_bytes
    if size_bytes > limit_bytes:
        raise too_large(f"it has {size_bytes} bytes", limit_bytes)
    with resources.transaction() as session:
        quota.check_open_count(session, resources.settings.upload_open_count)
        coming = resources.open_uploads.of(resources.project_id)
        quota.check_announced(session, size_bytes, digest, coming)
        row = uploads.add(
            session,
            size_bytes=size_bytes,
            digest=digest,
            metadata_header=metadata_header,
            wishes=dataclasses.asdict(wishes),
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
        TraceError, DigestMismatch: the bytes are not a valid trace; the upload is over.
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
            yield from _Appending(resources, row, partial).take(part)
    except OSError as error:
        raise _no_room(error) from error
    return find(resources, upload_id)


def end(resources: Resources, upload_id: uuid.UUID) -> None:
    """Delete an upload and its bytes; a trace made of it is kept."""
    with resources.transaction() as session:
        row = uploads.get(session, upload_id)
    if row.state == "open" and resources.blobs.incoming.has_partial(upload_id):
        with resources.blobs.incoming.open_partial(upload_id):
            _forget(resources, upload_id)
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
                    _forget(resources, upload_id)
        except (UploadBusy, UploadGone):
            continue
        with transaction(resources.engine) as session:
            uploads.remove(session, upload_id)
        removed_count += 1
    there = resources.blobs.incoming.partials()
    with transaction(resources.engine) as session:
        wanted = uploads.with_bytes(session, there)
    for upload_id in set(there) - wanted:
        _forget(resources, upload_id)
    if removed_count:
        _log.info("%d uploads expired and were removed", removed_count)
    return removed_count


class _Appending:
    """One request that holds the lock of an upload's file."""

    def __init__(self, resources: Resources, row: Upload, partial: Partial) -> None:
        self._resources = resources
        self._row = row
        self._partial = partial
        # Offsets: safe bytes, bytes counted here, and the end of a part with a checksum.
        self._safe = self._written = self._end = row.offset_bytes
        # None: rebuilding one re-reads the file, which is put off (:meth:`_check`).
        self._validator = resources.validators.take(row.id, partial, row.offset_bytes)

    def take(self, part: Part) -> Generator[None, bytes, None]:
        """Writes the bytes of the part to the file and the validator."""
        try:
            if part.checksum is None:
                yield from self._feed_all()
            else:
                yield from self._write_checked(part.checksum)
                for chunk in self._partial.chunks(self._written, self._end):
                    self._feed(chunk)
        except (TraceError, OSError):
            raise
        except BaseException:
            # The sender went away or sent too much: the bytes before that are valid.
            self._settle()
            raise
        else:
            self._settle()
        finally:
            if self._validator is not None:
                self._validator.abandon()

    def _feed_all(self) -> Generator[None, bytes, None]:
        while chunk := (yield):
            self._bound(self._written + len(chunk))
            self._partial.write(chunk)
            self._feed(chunk)

    def _feed(self, chunk: bytes) -> None:
        """Counts and checks the bytes in the file."""
        before, self._written = self._written, self._written + len(chunk)
        if self._validator is not None:
            with self._refusing():
                self._validator.feed(chunk)
        elif self._written.bit_length() > before.bit_length():
            self._check()
        if self._row.size_bytes > self._written >= self._safe + SAFE_EVERY_BYTES:
            self._make_safe()

    def _check(self) -> None:
        """Checks the file from its beginning if no validator was kept for it.

        Done each time the file has doubled, and at the end: so all reading together is linear in
        the bytes, however small the parts are.
        """
        with self._refusing():
            # Bytes that a killed server had counted but not checked may be invalid.
            self._validator = self._resources.validators.again(self._partial, self._written)

    def _write_checked(self, checksum: Checksum) -> Generator[None, bytes, None]:
        """Writes to the file only: the validator must not see bytes damaged in transit."""
        summed = checksum.begin()
        while chunk := (yield):
            self._bound(self._end + len(chunk))
            summed.update(chunk)
            self._partial.write(chunk)
            self._end += len(chunk)
        checksum.check(summed)

    def _bound(self, end: int) -> None:
        if end > self._row.size_bytes:
            raise too_large(
                f"the part exceeds the upload's length of {self._row.size_bytes} bytes",
                self._row.size_bytes,
            )

    def _settle(self) -> None:
        """Flushes and records the bytes; stores the trace after the last."""
        if self._written < self._row.size_bytes:
            if self._validator is not None:
                with self._refusing():
                    self._validator.settle()
            self._make_safe()
            if self._validator is not None:
                self._resources.validators.give(self._row.id, self._validator)
            return
        if self._validator is None:
            self._check()
        self._partial.sync()
        wishes = self._row.wishes
        with self._refusing():
            placed = keeping.place(
                self._resources,
                cast("TraceValidator", self._validator),
                Wishes(wishes["name"], tuple(wishes["tags"]), wishes["note"]),
                digest=self._row.digest,
                put=lambda digest: self._resources.blobs.put(self._partial.path, digest),
            )
            keeping.write_row(
                self._resources,
                placed,
                also=lambda session, trace: uploads.finish(session, self._row, trace),
            )

    def _make_safe(self) -> None:
        self._partial.sync()
        with self._resources.transaction() as session:
            uploads.advance(
                session,
                self._row,
                self._written,
                lives_seconds=self._resources.settings.upload_expire_seconds,
            )
        self._safe = self._written

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Ends the upload on an invalid trace, another digest, or an exceeded quota."""
        try:
            yield
        except (TraceError, DigestMismatch, QuotaExceeded) as error:
            with self._resources.transaction() as session:
                uploads.refuse(session, self._row, str(error), getattr(error, "offset", None))
            _forget(self._resources, self._row.id)
            raise


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


def _forget(resources: Resources, upload_id: uuid.UUID) -> None:
    resources.blobs.incoming.remove_partial(upload_id)
    resources.validators.drop(upload_id)


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(
        f"the part cannot be stored: {error.strerror or error}; what was safe before is kept"
    )

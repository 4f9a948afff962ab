"""One request that writes to an upload: its bytes are put in the file, checked, and made safe.

The validator of a trace may be a block behind the file, but not at the end of a request. What
checks a packed tree stands in ``services/api/kernels/trees.py``.
"""

import abc
import contextlib
import uuid
from collections.abc import Generator, Iterator
from typing import cast

from db.blobs import Partial
from db.errors import QuotaExceeded
from db.models import Upload
from db.repositories import uploads
from refault.errors import DigestMismatch, NotATree, TraceError
from refault.trace import TraceValidator
from services.api.deps import Resources
from services.api.traces import keeping
from services.api.traces.announcement import Wishes, too_large
from services.api.uploads.protocol import Checksum

# How much must be sent again after a server is killed; each flush also costs a transaction.
SAFE_EVERY_BYTES = 32 * 1024 * 1024


class Appending(abc.ABC):
    """One request that holds the lock of an upload's file; what the bytes are is a subclass's."""

    def __init__(self, resources: Resources, row: Upload, partial: Partial) -> None:
        self._resources = resources
        self._row = row
        self._partial = partial
        # Offsets: safe bytes, bytes counted here, and the end of a part with a checksum.
        self._safe = self._written = self._end = row.offset_bytes

    def take(self, checksum: Checksum | None) -> Generator[None, bytes, None]:
        """Writes the bytes of a part to the file, and checks them."""
        try:
            if checksum is None:
                yield from self._feed_all()
            else:
                yield from self._write_checked(checksum)
                for chunk in self._partial.chunks(self._written, self._end):
                    self._feed(chunk)
        except (TraceError, NotATree, OSError):
            raise
        except BaseException:
            # The sender went away or sent too much: the bytes before that are valid.
            self._settle()
            raise
        else:
            self._settle()
        finally:
            self._leave()

    def _check(self, chunk: bytes, before: int) -> None:  # noqa: B027 - nothing until it is whole
        """Checks a chunk that was written to the file from byte ``before`` on."""

    def _pause(self) -> None:
        """Records the bytes of an upload that goes on in another request."""
        self._make_safe()

    @abc.abstractmethod
    def _finish(self) -> None:
        """Makes of the whole file what it was announced as."""

    def _leave(self) -> None:  # noqa: B027 - nothing was taken
        """Gives back what checking took, however the request ended."""

    def _feed_all(self) -> Generator[None, bytes, None]:
        while chunk := (yield):
            self._bound(self._written + len(chunk))
            self._partial.write(chunk)
            self._feed(chunk)

    def _feed(self, chunk: bytes) -> None:
        """Counts and checks the bytes in the file."""
        before, self._written = self._written, self._written + len(chunk)
        self._check(chunk, before)
        if self._row.size_bytes > self._written >= self._safe + SAFE_EVERY_BYTES:
            self._make_safe()

    def _write_checked(self, checksum: Checksum) -> Generator[None, bytes, None]:
        """Writes to the file only: a validator must not see bytes damaged in transit."""
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
        """Flushes and records the bytes; stores the file after the last."""
        if self._written < self._row.size_bytes:
            self._pause()
        else:
            self._finish()

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
        """Ends the upload on invalid bytes, another digest, or an exceeded quota."""
        try:
            yield
        except (TraceError, NotATree, DigestMismatch, QuotaExceeded) as error:
            with self._resources.transaction() as session:
                uploads.refuse(session, self._row, str(error), getattr(error, "offset", None))
            forget(self._resources, self._row.id)
            raise


class TraceAppending(Appending):
    """A request that writes to a trace, which is checked while it comes."""

    def __init__(self, resources: Resources, row: Upload, partial: Partial) -> None:
        super().__init__(resources, row, partial)
        # None: rebuilding one re-reads the file, which is put off (:meth:`_check_again`).
        self._validator = resources.validators.take(row.id, partial, row.offset_bytes)

    def _check(self, chunk: bytes, before: int) -> None:
        if self._validator is not None:
            with self._refusing():
                self._validator.feed(chunk)
        elif self._written.bit_length() > before.bit_length():
            self._check_again()

    def _check_again(self) -> None:
        """Checks the file from its beginning if no validator was kept for it.

        Done each time the file has doubled, and at the end: so all reading together is linear in
        the bytes, however small the parts are.
        """
        with self._refusing():
            # Bytes that a killed server had counted but not checked may be invalid.
            self._validator = self._resources.validators.again(self._partial, self._written)

    def _pause(self) -> None:
        if self._validator is not None:
            with self._refusing():
                self._validator.settle()
        super()._pause()
        if self._validator is not None:
            self._resources.validators.give(self._row.id, self._validator)

    def _finish(self) -> None:
        if self._validator is None:
            self._check_again()
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

    def _leave(self) -> None:
        if self._validator is not None:
            self._validator.abandon()


def forget(resources: Resources, upload_id: uuid.UUID) -> None:
    """Removes the bytes of an upload that has ended."""
    resources.blobs.incoming.remove_partial(upload_id)
    resources.validators.drop(upload_id)

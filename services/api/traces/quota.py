"""The quota of a project, checked before the bytes of an upload are received.

Unfinished uploads count: resumable ones with their announced length, single-request ones with the
bytes announced or received. Otherwise many concurrent uploads could exceed any quota.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from db.errors import QuotaExceeded
from db.models import Trace
from db.repositories import kernels, projects, traces, uploads
from refault.errors import DigestMismatch

Counted = tuple[int, int]


class OpenUploads:
    """The single-request uploads this process is receiving, per project."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[uuid.UUID | None] = Counter()
        self._bytes: Counter[uuid.UUID | None] = Counter()

    def of(self, project_id: uuid.UUID | None) -> Counted:
        """Their number and bytes."""
        with self._lock:
            return self._counts[project_id], self._bytes[project_id]

    @contextmanager
    def one(self, project_id: uuid.UUID | None) -> Iterator["OpenUpload"]:
        """Counts one more until the block is left."""
        upload = OpenUpload(self, project_id)
        self._add(project_id, 1, 0)
        try:
            yield upload
        finally:
            self._add(project_id, -1, -upload.size_bytes)

    def _add(self, project_id: uuid.UUID | None, count: int, size_bytes: int) -> None:
        with self._lock:
            self._counts[project_id] += count
            self._bytes[project_id] += size_bytes
            if not self._counts[project_id]:
                del self._counts[project_id], self._bytes[project_id]


class OpenUpload:
    """One of them, with the bytes it counts for."""

    def __init__(self, uploads_: OpenUploads, project_id: uuid.UUID | None) -> None:
        self._uploads = uploads_
        self._project_id = project_id
        self.size_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Set the bytes announced or received."""
        if size_bytes > self.size_bytes:
            self._uploads._add(self._project_id, 0, size_bytes - self.size_bytes)  # noqa: SLF001
            self.size_bytes = size_bytes


def check_announced(session: Session, size_bytes: int, digest: str | None, coming: Counted) -> None:
    """Refuses an upload over the quota, unless the service has the trace already.

    An existing trace may be uploaded again; while that is a resumable upload, others need room.

    Raises:
        QuotaExceeded: the quota does not suffice.
        DigestMismatch: the existing trace of that digest has another size.
    """
    found = None if digest is None else traces.find_by_digest(session, digest)
    if found is not None:
        _check_size(found, size_bytes)
    if found is None or uploads.is_under_way(session, found.digest):
        under_way = _sum(uploads.under_way(session), coming)
        projects.check_room_for_trace(session, size_bytes, under_way=under_way)


def check_announced_tree(
    session: Session, size_bytes: int, digest: str | None, coming: Counted
) -> None:
    """Refuses a packed tree over the quota, unless the project has it already."""
    if digest is None or not kernels.has_tree(session, digest):
        under_way = _sum(uploads.under_way(session), coming)
        projects.check_room_for_tree(session, size_bytes, under_way_bytes=under_way[1])


def check_open_count(session: Session, limit: int) -> None:
    """Refuses another resumable upload if the project has the maximum open."""
    projects.take_turn(session)
    count, _ = uploads.under_way(session)
    if count >= limit:
        raise QuotaExceeded(
            f"the project has {count} unfinished uploads, the maximum: finish "
            "some, or delete them (DELETE /api/v1/uploads/{id})"
        )


def bytes_left(session: Session, digest: str | None, coming: Counted) -> int | None:
    """How many bytes an upload of unknown length may have; None if unbounded.

    It may be an existing trace, so it may always be as large as the largest of those.
    """
    found = None if digest is None else traces.find_by_digest(session, digest)
    if found is not None:
        return found.size_bytes
    under_way = _sum(uploads.under_way(session), coming)
    left = projects.bytes_left(session, under_way_bytes=under_way[1])
    return None if left is None else max(left, traces.largest_bytes(session))


def _check_size(trace: Trace, size_bytes: int) -> None:
    if trace.size_bytes != size_bytes:
        raise DigestMismatch(
            f"the trace {trace.digest} already exists and has {trace.size_bytes} bytes; the sender "
            f"announced {size_bytes}"
        )


def _sum(one: Counted, other: Counted) -> Counted:
    return one[0] + other[0], one[1] + other[1]

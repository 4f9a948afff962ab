"""Whether a project has room for an upload, said before its bytes are taken.

What is on its way counts as if it were there: uploads in parts by the length they announced, those
of one request by what they announced or have sent. Otherwise many at once take any room.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from db.errors import QuotaExceeded
from db.models import Trace
from db.repositories import projects, traces, uploads
from refault.errors import DigestMismatch

Counted = tuple[int, int]


class OpenUploads:
    """The uploads of one request that are on their way to this process, per project."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[uuid.UUID | None] = Counter()
        self._bytes: Counter[uuid.UUID | None] = Counter()

    def of(self, project_id: uuid.UUID | None) -> Counted:
        """How many, and their bytes."""
        with self._lock:
            return self._counts[project_id], self._bytes[project_id]

    @contextmanager
    def one(self, project_id: uuid.UUID | None) -> Iterator["OpenUpload"]:
        """One more, until the block is left."""
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
    """One of them, and how many bytes it counts for."""

    def __init__(self, uploads_: OpenUploads, project_id: uuid.UUID | None) -> None:
        self._uploads = uploads_
        self._project_id = project_id
        self.size_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """It has announced, or sent, so many bytes."""
        if size_bytes > self.size_bytes:
            self._uploads._add(self._project_id, 0, size_bytes - self.size_bytes)  # noqa: SLF001
            self.size_bytes = size_bytes


def check_announced(session: Session, size_bytes: int, digest: str | None, coming: Counted) -> None:
    """Refuses an upload of so many bytes that is over the quota and no trace that is here.

    A trace that is here may come once more; while it does in parts, further ones need room.

    Raises:
        QuotaExceeded: there is no room for it.
        DigestMismatch: the trace of that digest is here, and has another size.
    """
    found = None if digest is None else traces.find_by_digest(session, digest)
    if found is not None:
        _check_size(found, size_bytes)
    if found is None or uploads.is_under_way(session, found.digest):
        under_way = _sum(uploads.under_way(session), coming)
        projects.check_room_for_trace(session, size_bytes, under_way=under_way)


def check_open_count(session: Session, limit: int) -> None:
    """Refuses a further upload in parts where the project has as many open as it may."""
    projects.take_turn(session)
    count, _ = uploads.under_way(session)
    if count >= limit:
        raise QuotaExceeded(
            f"the project has {count} unfinished uploads, the maximum: finish "
            "some, or delete them (DELETE /api/v1/uploads/{id})"
        )


def bytes_left(session: Session, digest: str | None, coming: Counted) -> int | None:
    """How many bytes an upload of unknown length may have; None if the project has no bound.

    It may be a trace that is here, so it may be as large as the largest of those.
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

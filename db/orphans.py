"""Orphaned blobs: their uploader was killed before it wrote the row.

Only blobs recorded in a row (``db/repositories/placements.py``) are removed. A blob without any row
is kept: the database may be empty or old, in front of somebody's whole store. ``python -m db
verify`` names such blobs.
"""

from __future__ import annotations

import logging
import uuid

import sqlalchemy as sa

from db.blobs import BlobStore
from db.repositories import files, placements
from db.session import transaction
from refault.errors import RefaultError

_log = logging.getLogger(__name__)

OVERDUE_SECONDS = 3600
"""Before, the row may still come."""


def remove(engine: sa.Engine, blobs: BlobStore) -> list[str]:
    """Removes what killed processes have put in place, or left behind; answers the digests."""
    with transaction(engine) as session:
        left = placements.overdue(session, OVERDUE_SECONDS)
    removed = []
    for placement_id, digest in left:
        try:
            if drop(engine, blobs, placement_id, digest):
                removed.append(digest)
        except (RefaultError, OSError) as error:
            # The next sweep retries it; the others go ahead.
            _log.warning("orphaned blob %s cannot be removed: %s", digest[:12], error)
    return removed


def drop(engine: sa.Engine, blobs: BlobStore, placement_id: uuid.UUID, digest: str) -> bool:
    """Ends a placement; the file goes, if nobody needs it. Answers whether it did."""
    with transaction(engine) as session:
        files.lock_digest(session, digest)
        placements.end(session, placement_id)
        removal = placements.begin_removal(session, digest)
    return removal is not None and finish(engine, blobs, removal, digest)


def finish(engine: sa.Engine, blobs: BlobStore, removal_id: uuid.UUID, digest: str) -> bool:
    """Removes a file whose removal has been begun; answers whether there was one.

    If the store refuses, or the process is killed, the row stays and the sweep tries again.
    """
    was_there = blobs.delete(digest)
    with transaction(engine) as session:
        placements.end(session, removal_id)
    return was_there

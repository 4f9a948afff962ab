"""Blobs that no trace needs: whoever put one in place was killed before it wrote the row.

Which those are, rows say (``db/repositories/placements.py``), and only such ones are removed. That
a blob is in no row alone is no reason: the database may be an empty or an old one, in front of
somebody's whole store. Such blobs are named by ``python -m db verify``.
"""

from __future__ import annotations

import sqlalchemy as sa

from db.blobs import BlobStore
from db.repositories import placements, traces
from db.session import transaction

OVERDUE_SECONDS = 3600
"""Before, the row may still come."""


def remove(engine: sa.Engine, blobs: BlobStore) -> list[str]:
    """Removes what killed processes have put in place; answers the digests.

    Under the lock of the digest, which whoever writes its row takes, too: an upload that comes in
    between finds its file, or is told to send it again.
    """
    with transaction(engine) as session:
        left = placements.overdue(session, OVERDUE_SECONDS)
    removed = []
    for placement_id, digest in left:
        with transaction(engine) as session:
            traces.lock_digest(session, digest)
            if not traces.is_anywhere(session, digest) and blobs.delete(digest):
                removed.append(digest)
            placements.end(session, placement_id)
    return removed

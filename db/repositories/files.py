"""Files of the blob store: which are needed (by traces, trees, programs), and their lock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

NEEDED = """
    SELECT digest, size_bytes FROM traces
    UNION ALL SELECT digest, size_bytes FROM trees
    UNION ALL SELECT file_digest, size_bytes FROM programs"""
"""Digest and size of every file that a row of any project needs; of some more than once."""


def lock_digest(session: Session, digest: str) -> None:
    """Lock the digest until the transaction ends, so that a file and its row change together.

    Taken first by everything that puts a blob in place or removes one.
    """
    lock_key = int.from_bytes(bytes.fromhex(digest[:16]), signed=True)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key)))


def is_needed(session: Session, digest: str) -> bool:
    """Whether a row of any project needs the file of that digest."""
    # Text, so that it is not limited to the session's project.
    query = sa.text(f"SELECT 1 FROM ({NEEDED}) AS needed WHERE digest = :digest LIMIT 1")  # noqa: S608
    return session.scalar(query, {"digest": digest}) is not None


def needed(session: Session) -> set[str]:
    """The digests of all files that are needed."""
    return set(session.scalars(sa.text(f"SELECT DISTINCT digest FROM ({NEEDED}) AS needed")))  # noqa: S608

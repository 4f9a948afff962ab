"""Documents beside results: written once under their key, found by it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import uuid
from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Document
from db.repositories import findings, operations
from db.repositories.pagination import among
from refault.documents import DocumentKey

_log = logging.getLogger(__name__)


def write(
    session: Session,
    documents: Iterable[tuple[DocumentKey, bytes]],
    *,
    project_id: uuid.UUID | None = None,
) -> None:
    """Store documents; one that is there stays.

    Equal keys name equal bytes, so other bytes are a defect, as of a result: they are counted as an
    integrity alarm and logged, and what is there stays.
    """
    # In a common order: two workers with the same documents must not deadlock.
    for key, body in sorted(documents, key=lambda each: each[0].digest):
        body_digest = hashlib.sha256(body).hexdigest()
        made = session.scalar(
            insert(Document)
            .values(
                digest=key.digest,
                **dataclasses.asdict(key),
                body=body,
                body_digest=body_digest,
                project_id=project_id,
            )
            .on_conflict_do_nothing(index_elements=[Document.digest])
            .returning(Document.digest)
        )
        if made is not None:
            if key.kind == findings.AUDIT:
                findings.file_audits(session, {made})
            continue
        stored = session.scalar(
            sa.select(Document.body_digest).where(Document.digest == key.digest)
        )
        if stored != body_digest:
            _log.error("document %s has %s, and came out as %s", key.digest, stored, body_digest)
            operations.count(session, operations.INTEGRITY_ALARMS)


def body_of(session: Session, digest: str) -> bytes | None:
    """The bytes of the document whose key has that digest, if it is there."""
    return session.scalar(sa.select(Document.body).where(Document.digest == digest))


def bodies(session: Session, digests: Collection[str]) -> dict[str, bytes]:
    """The bytes of the documents that are there, by the digest of the key."""
    query = sa.select(Document.digest, Document.body).where(among(Document.digest, digests))
    return {row.digest: row.body for row in session.execute(query)}


def maker(session: Session, digest: str) -> uuid.UUID | None:
    """The project a document was made for; None if there is no such document."""
    return session.scalar(sa.select(Document.project_id).where(Document.digest == digest))

"""Documents beside results, and the questions that workers answer with them.

::

    runs ──(trace, variant, simulator)──► documents ◄──(key)── questions
                                          (by key alone, everybody's, like results)
"""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import (
    Base,
    CreatedAt,
    Digest,
    Leased,
    RowId,
    is_digest,
    leases_are_kept,
    one_of,
)
from db.models.projects import Made, Owned
from db.models.traces import Trace

QUESTION_KINDS = ("audit", "divergence", "inspection", "verification")
QUESTION_STATES = ("queued", "running", "done", "failed")


class Document(Base):
    """What watched a run, or was found in one: bytes named by a ``refault.documents`` key."""

    __tablename__ = "documents"
    __table_args__ = (
        is_digest("digest"),
        is_digest("trace_digest"),
        is_digest("variant_digest"),
        is_digest("simulator_digest"),
        is_digest("body_digest"),
        # Rows whose findings upkeep still has to file.
        sa.Index(
            "ix_documents_unfiled",
            "digest",
            postgresql_where=sa.text("NOT is_filed AND kind = 'audit'"),
        ),
        # For the documents of a run.
        sa.Index("ix_documents_run", "trace_digest", "variant_digest", "kind"),
    )

    # Of the key: DocumentKey.digest.
    digest: Mapped[Digest] = mapped_column(primary_key=True)
    kind: Mapped[str]
    level: Mapped[str]
    trace_digest: Mapped[Digest]
    variant_digest: Mapped[Digest]
    simulator_digest: Mapped[Digest]
    # Canonical msgpack; up to hundreds of kilobytes, so it is loaded only on demand.
    body: Mapped[bytes] = mapped_column(deferred=True)
    body_digest: Mapped[Digest]
    # Of an audit: whether what it found stands in ``findings``.
    is_filed: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # The project it was made for, as of a result. No foreign key: a document is shared.
    project_id: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]


class Question(Owned, Made, Leased, Base):
    """What a project asks of one trace, under no, one or two variants; a worker answers.

    ``done``: the document of ``document_digest`` is there. ``failed``: ``error`` says why it
    cannot be answered, or that no attempt got through.
    """

    __tablename__ = "questions"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "document_digest"),
        one_of("kind", QUESTION_KINDS, "kind_known"),
        one_of("state", QUESTION_STATES, "state_known"),
        *leases_are_kept(),
        is_digest("document_digest"),
        sa.Index("ix_questions_state_lease_until", "state", "lease_until"),
    )

    id: Mapped[RowId]
    kind: Mapped[str]
    trace_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("traces.id", ondelete="CASCADE"), index=True
    )
    # The question as refault.questions has it, digests of the variants, and their engines.
    asked: Mapped[dict[str, Any]]
    # Of the key of the document that answers it.
    document_digest: Mapped[Digest]
    # Progress, in bytes of the trace read.
    units_done: Mapped[int] = mapped_column(default=0, server_default="0")
    units_total: Mapped[int] = mapped_column(default=0, server_default="0")

    trace: Mapped[Trace] = relationship(lazy="joined")

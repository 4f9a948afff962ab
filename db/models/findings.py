"""Findings of results and of audits, one row a kind, so that a corpus is searched without bodies.

::

    results ◄──(result_id)──┐
                            ├── findings     (everybody's, like what they are of: a project
    documents ◄─(document)──┘                 reaches them through its runs and questions)
"""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Digest, RowId, is_digest


class FiledFinding(Base):
    """What one result, or one audit, found of one kind: how often, and where first.

    ``kind`` is a kind of finding, or a check of the specification. ``count`` is how many are
    known; ``is_all`` whether that is all there were. ``exception`` names a known defect of the real
    kernel of that time.
    """

    __tablename__ = "findings"
    __table_args__ = (
        sa.UniqueConstraint("result_id", "kind"),
        sa.UniqueConstraint("document_digest", "kind"),
        sa.CheckConstraint("(result_id IS NULL) <> (document_digest IS NULL)", name="of_one"),
        is_digest("trace_digest"),
        is_digest("variant_digest"),
        sa.Index("ix_findings_kind", "kind", "variant_digest"),
    )

    id: Mapped[RowId]
    result_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("results.id", ondelete="CASCADE")
    )
    document_digest: Mapped[str | None] = mapped_column(
        sa.ForeignKey("documents.digest", ondelete="CASCADE")
    )
    trace_digest: Mapped[Digest]
    variant_digest: Mapped[Digest]
    kind: Mapped[str]
    is_guest_visible: Mapped[bool]
    exception: Mapped[str | None]
    count: Mapped[int]
    is_all: Mapped[bool]
    event_index: Mapped[int]
    operation_index: Mapped[int]
    vcpu: Mapped[int | None]
    # What ``address_kind`` says, in hexadecimal: gva, gfn; or nothing.
    address: Mapped[str | None]
    address_kind: Mapped[str]
    message: Mapped[str]

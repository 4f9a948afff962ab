"""Answers to requests that carried an ``Idempotency-Key``."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, is_digest


class IdempotencyKey(Base):
    """One key with its request, and the answer once there is one; kept 24 hours."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        is_digest("request_digest"),
        sa.CheckConstraint(
            "(status IS NULL) = (response IS NULL) AND (status IS NULL) = (request_digest IS NULL)",
            name="answered_whole",
        ),
    )

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    # All three are null while the first request is in progress: the digest of a streamed body is
    # known only at its end.
    request_digest: Mapped[Digest | None]
    status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None]
    created_at: Mapped[CreatedAt]

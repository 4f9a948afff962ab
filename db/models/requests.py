"""Answers to requests that carried an ``Idempotency-Key``."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, is_digest


class IdempotencyKey(Base):
    """One key, what was asked under it, and the answer once there is one; kept 24 hours."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        is_digest("request_digest"),
        sa.CheckConstraint("(status IS NULL) = (response IS NULL)", name="answered_whole"),
    )

    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[Digest]
    # Null while the first request is still being answered.
    status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None]
    created_at: Mapped[CreatedAt]

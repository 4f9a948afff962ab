"""Traces that were uploaded; the file itself is a blob of the same digest."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.projects import Owned

TRACE_CONTENTS = ("capture", "operations")


class Trace(Owned, Base):
    """One immutable trace file, named by its digest."""

    __tablename__ = "traces"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "digest"),
        one_of("content", TRACE_CONTENTS, "content_known"),
        is_digest("digest"),
        sa.CheckConstraint(
            "size_bytes > 0 AND event_count >= 0 AND instruction_count >= 0", name="sizes"
        ),
        sa.CheckConstraint("vcpu_count > 0", name="vcpus"),
    )

    id: Mapped[RowId]
    digest: Mapped[Digest]
    name: Mapped[str]
    content: Mapped[str]
    guest_mode: Mapped[str]
    vcpu_count: Mapped[int]
    size_bytes: Mapped[int]
    event_count: Mapped[int]
    instruction_count: Mapped[int]
    # The file ended before its closing index and was accepted up to its last whole block.
    truncated: Mapped[bool] = mapped_column(default=False)
    events_by_kind: Mapped[dict[str, int]]
    header: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]

    def __repr__(self) -> str:
        return f"<Trace {self.name} {self.digest[:12]}>"

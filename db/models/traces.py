"""Uploaded traces; the file is a blob of the same digest."""

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.projects import Made, Owned

TRACE_CONTENTS = ("capture", "operations")


class Trace(Owned, Made, Base):
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
        sa.Index("ix_traces_tags", "tags", postgresql_using="gin"),
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
    # The file ended before its closing index and was accepted up to its last complete block.
    truncated: Mapped[bool] = mapped_column(default=False)
    events_by_kind: Mapped[dict[str, int]]
    header: Mapped[dict[str, Any]]
    # Computed at upload: address spaces, marks, and the cost of a replay
    # (refault/trace/costs.py). Incomplete for older traces.
    statistics: Mapped[dict[str, Any]] = mapped_column(server_default=sa.text("'{}'::jsonb"))
    # Metadata that users can change. The guest's description is initially the header's.
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default=sa.text("'{}'::text[]"))
    note: Mapped[str] = mapped_column(server_default="")
    guest: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=sa.text("'{}'::jsonb"))
    created_at: Mapped[CreatedAt]
    # When name, tags, note or guest last changed.
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=sa.func.now())

    @property
    def work(self) -> int:
        """Estimated cost under one variant, in ordinary events."""
        return int(self.statistics.get("work", self.event_count))

    @property
    def memory_bytes(self) -> int:
        """Lower bound of the memory of a replay under one variant, if known."""
        return int(self.statistics.get("memory_bytes", 0))

    def __repr__(self) -> str:
        return f"<Trace {self.name} {self.digest[:12]}>"

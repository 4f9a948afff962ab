"""Projects: traces, patch sets and batches belong to one, and only it sees them."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from db.models.base import Base, CreatedAt, RowId, one_of

FIRST_PROJECT = uuid.UUID("01900000-0000-7000-8000-000000000001")
"""The first project of every installation, which owns rows older than projects."""

BUILD_ROLES = ("nobody", "maintainer", "contributor")
"""Whom a project lets build: a role, and those above it."""


class Project(Base):
    """A team's traces, patch sets and batches, which no other project sees."""

    __tablename__ = "projects"
    __table_args__ = (
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="name_is_plain"),
        sa.CheckConstraint("retention_days > 0", name="retention_days"),
        sa.CheckConstraint("shard_seconds > 0", name="shard_seconds"),
        one_of("build_role", BUILD_ROLES, "build_role_known"),
    )

    id: Mapped[RowId]
    # Used in addresses and on the command line.
    name: Mapped[str] = mapped_column(unique=True)
    # Days until a trace is deleted that no batch uses and that lacks the tag ``keep``. Null: never.
    retention_days: Mapped[int | None]
    created_at: Mapped[CreatedAt]
    # Quotas; null is unbounded.
    quota_bytes: Mapped[int | None]
    quota_traces: Mapped[int | None]
    quota_queued_runs: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    # Time limit of its shards; the service's applies if this is null or larger.
    shard_seconds: Mapped[int | None]
    # Who may build kernels of their own trees, where the operator allows it at all.
    build_role: Mapped[str] = mapped_column(server_default="maintainer")


class Made:
    """A row that records its maker, filled in from the session when the row is new.

    Both are set if the token has an owner. Neither: unknown.
    """

    @declared_attr
    def user_id(cls) -> Mapped[uuid.UUID | None]:  # noqa: N805  # SQLAlchemy hands the class
        """The user."""
        return mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))

    @declared_attr
    def token_id(cls) -> Mapped[uuid.UUID | None]:  # noqa: N805  # SQLAlchemy hands the class
        """The token, unless it was a login."""
        return mapped_column(sa.ForeignKey("tokens.id", ondelete="SET NULL"))


class Owned:
    """A row of one project. A session of a project sees no other's (``db/scope.py``)."""

    @declared_attr
    def project_id(cls) -> Mapped[uuid.UUID]:  # noqa: N805  # SQLAlchemy hands the class
        """The project; filled in from the session when the row is new."""
        return mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True)

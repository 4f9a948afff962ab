"""Projects: everything people bring or ask for belongs to one, and is seen in that one only."""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from db.models.base import Base, CreatedAt, RowId

FIRST_PROJECT = uuid.UUID("01900000-0000-7000-8000-000000000001")
"""The project every installation begins with; what there was before projects belongs to it."""


class Project(Base):
    """A team's corner: its traces, patch sets and batches, which no other project sees."""

    __tablename__ = "projects"
    __table_args__ = (
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="name_is_plain"),
        sa.CheckConstraint("retention_days > 0", name="retention_days"),
        sa.CheckConstraint("shard_seconds > 0", name="shard_seconds"),
    )

    id: Mapped[RowId]
    # Stands in addresses and on the command line.
    name: Mapped[str] = mapped_column(unique=True)
    # After so many days a trace no batch uses and nobody tagged ``keep`` is deleted. Null: never.
    retention_days: Mapped[int | None]
    created_at: Mapped[CreatedAt]
    # What it may have and do; null is without bound.
    quota_bytes: Mapped[int | None]
    quota_traces: Mapped[int | None]
    quota_queued_runs: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    # How long a shard of it may take; null or more than the service gives: as long as that.
    shard_seconds: Mapped[int | None]


class Made:
    """A row that knows who made it; filled in from the session when the row is new.

    Of a token's doing both are there, if the token is somebody's. Neither: it is not known.
    """

    @declared_attr
    def user_id(cls) -> Mapped[uuid.UUID | None]:  # noqa: N805  # SQLAlchemy hands the class
        """The person."""
        return mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))

    @declared_attr
    def token_id(cls) -> Mapped[uuid.UUID | None]:  # noqa: N805  # SQLAlchemy hands the class
        """The token, where it was not a person at a browser."""
        return mapped_column(sa.ForeignKey("tokens.id", ondelete="SET NULL"))


class Owned:
    """A row of one project. A session of a project sees no other's (``db/scope.py``)."""

    @declared_attr
    def project_id(cls) -> Mapped[uuid.UUID]:  # noqa: N805  # SQLAlchemy hands the class
        """The project; filled in from the session when the row is new."""
        return mapped_column(sa.ForeignKey("projects.id", ondelete="CASCADE"), index=True)

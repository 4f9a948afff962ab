"""Shared by all tables: names of constraints, column types, ids and times."""

import datetime
import uuid
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.identifiers import uuid7

RowId = Annotated[uuid.UUID, mapped_column(primary_key=True, default=uuid7)]
"""A UUIDv7 generated here, so that the id is known before the row is written."""

Digest = Annotated[str, mapped_column(sa.String(64))]
"""sha256 as lower-case hex."""

CreatedAt = Annotated[datetime.datetime, mapped_column(server_default=sa.func.now())]
"""When the row was written, by the database's clock."""


class Base(DeclarativeBase):
    """Root of the models; constraint names are fixed so that migrations can name them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime.datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSONB,
        dict[str, int]: JSONB,
        list[str]: JSONB,
        int: sa.BigInteger,
        str: sa.Text,
    }


class Leased:
    """A row that a worker takes for a while: work, and how its attempts went.

    ::

        queued ──► running (attempt, lease) ──► done, or what else the table knows
           ▲            │
           └────────────┘  its worker was lost or gave it back (attempt + 1)
    """

    state: Mapped[str] = mapped_column(default="queued")
    # The fence: only the holder of this number may write what came of it.
    attempt: Mapped[int] = mapped_column(default=1)
    # Attempts that were lost or failed; interrupted ones do not count.
    lost_count: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime.datetime | None]
    worker: Mapped[str | None]
    # The process id on the worker's machine.
    worker_pid: Mapped[int | None]
    # The error of the last attempt.
    error: Mapped[str | None]
    # When a message for the current attempt was last sent to the broker.
    published_at: Mapped[datetime.datetime | None]
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime.datetime | None]
    finished_at: Mapped[datetime.datetime | None]


def leases_are_kept() -> tuple[sa.CheckConstraint, ...]:
    """The CHECKs of every :class:`Leased` table."""
    return (
        sa.CheckConstraint("attempt >= 1 AND lost_count BETWEEN 0 AND attempt", name="attempt"),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name="running_has_lease"
        ),
    )


def one_of(column: str, values: tuple[str, ...], name: str) -> sa.CheckConstraint:
    """A CHECK that ``column`` holds one of ``values``."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=name)


def is_digest(column: str) -> sa.CheckConstraint:
    """A CHECK that ``column`` is a sha256 in lower-case hex."""
    return sa.CheckConstraint(f"{column} ~ '^[0-9a-f]{{64}}$'", name=f"{column}_is_sha256")

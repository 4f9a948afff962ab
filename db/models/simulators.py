"""Simulators and workers."""

import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, is_digest
from refault.results import SHADOW


class Simulator(Base):
    """A version of an engine, named by the digest of its source; workers register it."""

    __tablename__ = "simulators"
    __table_args__ = (is_digest("digest"),)

    digest: Mapped[Digest] = mapped_column(primary_key=True)
    engine: Mapped[str] = mapped_column(server_default=SHADOW)
    semantics_version: Mapped[int]
    registered_at: Mapped[CreatedAt]
    # Moves each time a worker with this simulator starts.
    last_started_at: Mapped[CreatedAt]


class Worker(Base):
    """A worker process; its consumer loop writes the heartbeat."""

    __tablename__ = "workers"
    __table_args__ = (
        sa.CheckConstraint("(ended_at IS NULL) = (ended_in_order IS NULL)", name="ended"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    simulator_digest: Mapped[str] = mapped_column(sa.ForeignKey("simulators.digest"), index=True)
    # Those of its other engines; empty for workers of an earlier release.
    other_simulators: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    # Whether it compiles kernels of users' trees.
    can_build: Mapped[bool] = mapped_column(server_default=sa.false())
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[datetime.datetime] = mapped_column(server_default=sa.func.now())
    heartbeat_at: Mapped[datetime.datetime] = mapped_column(server_default=sa.func.now())
    # Null while it is thought to run. Once set, its shards can be requeued at once.
    ended_at: Mapped[datetime.datetime | None]
    # Whether it was told to stop, or died.
    ended_in_order: Mapped[bool | None]


class WorkerStart(Base):
    """A worker process that compiles the simulators it will register, and how far it is.

    Gone once it has registered.
    """

    __tablename__ = "worker_starts"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    # What is being compiled: one of so many things.
    step: Mapped[str]
    step_number: Mapped[int]
    step_count: Mapped[int]
    # Of all these things; both are 0 while nothing is compiled, as where all comes from the cache.
    kernels_done: Mapped[int]
    kernels_total: Mapped[int]
    started_at: Mapped[datetime.datetime] = mapped_column(server_default=sa.func.now())
    heartbeat_at: Mapped[datetime.datetime] = mapped_column(server_default=sa.func.now())

"""Runs, the shards workers take, and results.

A shard's life::

             plan
               │
               ▼     claim (attempt, lease)     record
            queued ────────────────────────► running ───────► done
               ▲  │                           │  │  │
               │  └── cancel ──► cancelled ◄──┘  │  └── third loss ──► failed
               └───────── lease ran out ─────────┘
                          (attempt + 1)
"""

import datetime
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
from db.models.batches import Batch
from db.models.patch_sets import Variant
from db.models.projects import Owned
from db.models.traces import Trace

RUN_STATES = ("queued", "running", "done", "cached", "crashed", "failed", "cancelled")
SHARD_STATES = ("queued", "running", "done", "failed", "cancelled")
RESULT_OUTCOMES = ("complete", "crashed")


class Result(Base):
    """The result of one trace under one variant of one engine version. Never computed twice."""

    __tablename__ = "results"
    __table_args__ = (
        sa.UniqueConstraint("trace_digest", "variant_digest", "simulator_digest"),
        one_of("outcome", RESULT_OUTCOMES, "outcome_known"),
        is_digest("trace_digest"),
        is_digest("variant_digest"),
        is_digest("simulator_digest"),
        sa.CheckConstraint(
            "(outcome = 'complete') = (body IS NOT NULL AND body_digest IS NOT NULL)",
            name="complete_has_body",
        ),
        sa.CheckConstraint(
            "(outcome = 'crashed') = (crash IS NOT NULL)", name="crashed_has_reason"
        ),
        # Alarms are few, and every list of batches counts them.
        sa.Index(
            "ix_results_alarmed", "id", postgresql_where=sa.text("integrity_alarm IS NOT NULL")
        ),
        # Rows whose findings upkeep still has to file.
        sa.Index(
            "ix_results_unfiled",
            "id",
            postgresql_where=sa.text("NOT is_filed AND body IS NOT NULL"),
        ),
        # Rows that still need facts from upkeep.
        sa.Index(
            "ix_results_without_facts",
            "id",
            postgresql_where=sa.text("facts IS NULL AND body IS NOT NULL"),
        ),
    )

    id: Mapped[RowId]
    trace_digest: Mapped[Digest]
    variant_digest: Mapped[Digest]
    simulator_digest: Mapped[Digest]
    outcome: Mapped[str]
    # refault.results.RunResult.to_dict(); body_digest is the sha256 of its to_bytes().
    body: Mapped[dict[str, Any] | None]
    body_digest: Mapped[Digest | None]
    # refault.facts.Facts.to_bytes() of the body: a batch is judged without reading its bodies.
    # Null in older rows, until upkeep fills it.
    facts: Mapped[bytes | None]
    # Whether what it found stands in ``findings``; false in older rows, until upkeep files it.
    is_filed: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # The simulator's own failure: exception and the tail of its traceback.
    crash: Mapped[str | None]
    # Set when the same three digests once gave other bytes: do not trust this row.
    integrity_alarm: Mapped[dict[str, Any] | None]
    worker: Mapped[str]
    # The project it was computed for: another project must not see that it exists before it has
    # run the same (``results.find_many``). Null: of an earlier release. No foreign key: a result
    # is shared.
    project_id: Mapped[uuid.UUID | None]
    # Indexed for the speed of recent replays.
    created_at: Mapped[CreatedAt] = mapped_column(index=True)
    recomputed_at: Mapped[datetime.datetime | None]


class Shard(Owned, Leased, Base):
    """The unit of work: one trace under a few variants of one engine, decoded once."""

    __tablename__ = "shards"
    __table_args__ = (
        one_of("state", SHARD_STATES, "state_known"),
        *leases_are_kept(),
        is_digest("snapshot_digest"),
        sa.CheckConstraint(
            "(snapshot_digest IS NULL) = (snapshot_events IS NULL)", name="snapshot_is_whole"
        ),
        sa.Index("ix_shards_state_lease_until", "state", "lease_until"),
        # For claims: the oldest queued shard of a batch.
        sa.Index(
            "ix_shards_waiting", "batch_id", "id", postgresql_where=sa.text("state = 'queued'")
        ),
        # For estimates: how long the last shards took.
        sa.Index("ix_shards_finished", "finished_at", postgresql_where=sa.text("state = 'done'")),
    )

    id: Mapped[RowId]
    batch_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), index=True
    )
    trace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("traces.id"), index=True)
    # The simulator that is to compute it; null: that of the batch's base.
    simulator_digest: Mapped[str | None] = mapped_column(sa.ForeignKey("simulators.digest"))
    events_done: Mapped[int] = mapped_column(default=0)
    events_total: Mapped[int] = mapped_column(default=0)
    # The seal of the snapshot the next attempt resumes from, and the number of events before it.
    snapshot_digest: Mapped[Digest | None]
    snapshot_events: Mapped[int | None]

    runs: Mapped[list["Run"]] = relationship(back_populates="shard", order_by="Run.position")
    trace: Mapped[Trace] = relationship(lazy="joined")

    @property
    def engine(self) -> str:
        """The engine of all its runs."""
        return self.runs[0].variant.engine


class Run(Owned, Base):
    """One trace under one variant, in one batch.

    ``cached``: the result was found by digest. ``crashed``: the simulator
    failed on it, which is a result too. ``failed``: there is no result.
    """

    __tablename__ = "runs"
    __table_args__ = (
        sa.UniqueConstraint("batch_id", "trace_id", "variant_digest"),
        one_of("state", RUN_STATES, "state_known"),
        sa.CheckConstraint(
            "(state IN ('done', 'cached', 'crashed')) = (result_id IS NOT NULL)", name="result"
        ),
    )

    id: Mapped[RowId]
    batch_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("batches.id", ondelete="CASCADE"))
    trace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("traces.id"), index=True)
    variant_digest: Mapped[str] = mapped_column(sa.ForeignKey("variants.digest"), index=True)
    shard_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("shards.id", ondelete="SET NULL"), index=True
    )
    # Position in the batch: by trace, then by column.
    position: Mapped[int]
    state: Mapped[str] = mapped_column(default="queued")
    result_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("results.id"), index=True)
    error: Mapped[str | None]
    # The result was found by digest, not computed for this batch.
    found: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # Retried after a crash: the stored crash must not be found again.
    again: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime.datetime | None]

    shard: Mapped[Shard | None] = relationship(back_populates="runs")
    # A result has kilobytes, so it is loaded only on demand.
    result: Mapped[Result | None] = relationship()
    trace: Mapped[Trace] = relationship(lazy="joined")
    variant: Mapped[Variant] = relationship(lazy="joined")
    batch: Mapped[Batch] = relationship()

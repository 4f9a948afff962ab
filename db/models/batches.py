"""Batches: traces × patch sets, and their events."""

import datetime
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.patch_sets import PatchSet, Variant
from db.models.projects import Made, Owned
from db.models.traces import Trace
from refault.results import SHADOW

BATCH_TITLE_LENGTH_MAX = 200
BATCH_PLANS = ("each", "series", "ablation", "matrix")
PRIORITY_DEFAULT = 5
PRIORITY_MAX = 9
BATCH_STATES = ("queued", "running", "done", "failed", "cancelled")
BATCH_FINAL_STATES = ("done", "failed", "cancelled")


class Batch(Owned, Made, Base):
    """One request for comparisons, planned into runs and cut into shards.

    ``state`` is ``failed`` when every run has ended and at least one has no
    result. The counts are kept in the transaction that ends a run, so they
    add up to ``run_count`` exactly when the batch is over.
    """

    __tablename__ = "batches"
    __table_args__ = (
        one_of("state", BATCH_STATES, "state_known"),
        one_of("plan", BATCH_PLANS, "plan_known"),
        is_digest("content_digest"),
        sa.CheckConstraint(
            "done_count >= 0 AND failed_count >= 0 AND cancelled_count >= 0"
            " AND cached_count BETWEEN 0 AND done_count"
            " AND done_count + failed_count + cancelled_count <= run_count",
            name="counts",
        ),
        sa.CheckConstraint(
            "(state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="finished",
        ),
        sa.Index(
            "ix_batches_open",
            "priority",
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        ),
        sa.Index(
            "ix_batches_unjudged",
            "id",
            postgresql_where=sa.text(
                "verdict_key IS NULL AND state IN ('done', 'failed', 'cancelled')"
            ),
        ),
        sa.CheckConstraint(f"priority BETWEEN 0 AND {PRIORITY_MAX}", name="priority"),
    )

    id: Mapped[RowId]
    code: Mapped[str] = mapped_column(unique=True)
    # What its maker calls it; empty: the names of its patch sets say what it is.
    title: Mapped[str] = mapped_column(server_default="")
    plan: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    recompute: Mapped[bool] = mapped_column(default=False)
    # 0 to 9, the highest first; within one priority the claim is fair between projects.
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default=str(PRIORITY_DEFAULT))
    # When one of its shards was last claimed: the round-robin of projects uses it.
    claimed_at: Mapped[datetime.datetime | None]
    # What of the plan makes no machine, and what an engine cannot replay: label and reason.
    refused: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    # The engine of the base column, and its version.
    engine: Mapped[str] = mapped_column(server_default=SHADOW)
    simulator_digest: Mapped[str] = mapped_column(sa.ForeignKey("simulators.digest"), index=True)
    # The versions of the other columns' engines, by name.
    other_simulators: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    # How closely its runs are audited, as refault.audits.Level.word has it; null: not at all.
    audit_level: Mapped[str | None]
    # Digest of the request; an equal request while this batch is open returns this batch.
    content_digest: Mapped[Digest] = mapped_column(index=True)
    run_count: Mapped[int]
    # Runs with a result, computed or found.
    done_count: Mapped[int] = mapped_column(default=0)
    # Those of the done runs whose result was found by digest, not computed for this batch.
    cached_count: Mapped[int] = mapped_column(default=0)
    failed_count: Mapped[int] = mapped_column(default=0)
    cancelled_count: Mapped[int] = mapped_column(default=0)
    cancel_requested_at: Mapped[datetime.datetime | None]
    # Of the request that planned it; in every log line about its shards.
    request_id: Mapped[str | None]
    # Of the same request (``services/shared/tracing.py``): the parent of its shards' spans.
    trace_context: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime.datetime | None]
    # The verdict once it is over, as its JSON with the first reason; null: none, or not judged yet.
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # What it was judged by (services/api/batches/verdicts.py); null: not judged yet.
    verdict_key: Mapped[str | None]

    # Possibly thousands, so they are loaded only on demand.
    columns: Mapped[list["BatchColumn"]] = relationship(
        order_by="BatchColumn.position", cascade="all, delete-orphan"
    )
    traces: Mapped[list["BatchTrace"]] = relationship(
        order_by="BatchTrace.position", cascade="all, delete-orphan"
    )
    # Of its columns, each once, in the order of the first column that has it.
    patch_sets: Mapped[list["PatchSet"]] = relationship(
        secondary="batch_columns", order_by="BatchColumn.position", viewonly=True
    )

    @property
    def simulators(self) -> dict[str, str]:
        """The digest of each of its engines, by name, the base's first."""
        return {self.engine: self.simulator_digest, **dict(sorted(self.other_simulators.items()))}

    def simulator_of(self, engine: str) -> str:
        """The digest of one of its engines."""
        return self.other_simulators.get(engine, self.simulator_digest)

    @property
    def is_over(self) -> bool:
        """Whether no run of the batch can change any more."""
        return self.state in BATCH_FINAL_STATES


class BatchTrace(Base):
    """A trace of a batch, in the requested order."""

    __tablename__ = "batch_traces"
    __table_args__ = (sa.UniqueConstraint("batch_id", "trace_id"),)

    batch_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trace_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("traces.id"), index=True)

    trace: Mapped[Trace] = relationship(lazy="joined")


class BatchColumn(Base):
    """A column of the batch's comparison.

    Two columns may share one variant (a patch without behaviour changes no
    knob), so columns are more than the runs per trace.
    """

    __tablename__ = "batch_columns"

    batch_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str]
    patch_set_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("patch_sets.id"), index=True)
    # Plan "series": how many of the set's patches this column has. Null: all of them.
    prefix_length: Mapped[int | None]
    variant_digest: Mapped[str] = mapped_column(sa.ForeignKey("variants.digest"), index=True)

    variant: Mapped[Variant] = relationship(lazy="joined")


class BatchEvent(Base):
    """One event of a batch; a watcher resumes from its ``id``.

    Ids are assigned while the batch's row is locked, so within a batch they
    are committed in order: a reader that has seen one has seen all before it.
    """

    __tablename__ = "batch_events"
    __table_args__ = (sa.Index("ix_batch_events_batch_id_id", "batch_id", "id"),)

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    batch_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("batches.id", ondelete="CASCADE"))
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]

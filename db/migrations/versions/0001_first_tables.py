"""First tables.

Revision 0001, after none, 2026-11-24 12:40:26.842533.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Works with the release before this one still running."""
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("response", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "request_digest ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_idempotency_keys_request_digest_is_sha256"),
        ),
        sa.CheckConstraint(
            "(status IS NULL) = (response IS NULL)", name=op.f("ck_idempotency_keys_answered_whole")
        ),
        sa.PrimaryKeyConstraint("key", "route", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "patches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patches")),
    )
    op.create_table(
        "results",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("trace_digest", sa.String(length=64), nullable=False),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.Column("simulator_digest", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body_digest", sa.String(length=64), nullable=True),
        sa.Column("crash", sa.Text(), nullable=True),
        sa.Column("integrity_alarm", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("recomputed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(outcome = 'complete') = (body IS NOT NULL AND body_digest IS NOT NULL)",
            name=op.f("ck_results_complete_has_body"),
        ),
        sa.CheckConstraint(
            "(outcome = 'crashed') = (crash IS NOT NULL)",
            name=op.f("ck_results_crashed_has_reason"),
        ),
        sa.CheckConstraint(
            "outcome IN ('complete', 'crashed')", name=op.f("ck_results_outcome_known")
        ),
        sa.CheckConstraint(
            "simulator_digest ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_results_simulator_digest_is_sha256"),
        ),
        sa.CheckConstraint(
            "trace_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_results_trace_digest_is_sha256")
        ),
        sa.CheckConstraint(
            "variant_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_results_variant_digest_is_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
        sa.UniqueConstraint(
            "trace_digest",
            "variant_digest",
            "simulator_digest",
            name=op.f("uq_results_trace_digest"),
        ),
    )
    op.create_table(
        "simulators",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("semantics_version", sa.BigInteger(), nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_simulators_digest_is_sha256")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_simulators")),
    )
    op.create_table(
        "traces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("guest_mode", sa.Text(), nullable=False),
        sa.Column("vcpu_count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("event_count", sa.BigInteger(), nullable=False),
        sa.Column("instruction_count", sa.BigInteger(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("events_by_kind", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("header", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "content IN ('capture', 'operations')", name=op.f("ck_traces_content_known")
        ),
        sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_traces_digest_is_sha256")),
        sa.CheckConstraint(
            "size_bytes > 0 AND event_count >= 0 AND instruction_count >= 0",
            name=op.f("ck_traces_sizes"),
        ),
        sa.CheckConstraint("vcpu_count > 0", name=op.f("ck_traces_vcpus")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.UniqueConstraint("digest", name=op.f("uq_traces_digest")),
    )
    op.create_table(
        "variants",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("patches", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("knobs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("golden_name", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_variants_digest_is_sha256")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_variants")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("recompute", sa.Boolean(), nullable=False),
        sa.Column("simulator_digest", sa.String(length=64), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("run_count", sa.BigInteger(), nullable=False),
        sa.Column("done_count", sa.BigInteger(), nullable=False),
        sa.Column("cached_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_count", sa.BigInteger(), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_batches_finished"),
        ),
        sa.CheckConstraint(
            "content_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_batches_content_digest_is_sha256")
        ),
        sa.CheckConstraint("plan IN ('each', 'series')", name=op.f("ck_batches_plan_known")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')",
            name=op.f("ck_batches_state_known"),
        ),
        sa.CheckConstraint(
            "done_count >= 0 AND failed_count >= 0 AND cancelled_count >= 0"
            " AND cached_count BETWEEN 0 AND done_count"
            " AND done_count + failed_count + cancelled_count <= run_count",
            name=op.f("ck_batches_counts"),
        ),
        sa.ForeignKeyConstraint(
            ["simulator_digest"],
            ["simulators.digest"],
            name=op.f("fk_batches_simulator_digest_simulators"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("code", name=op.f("uq_batches_code")),
    )
    op.create_index(op.f("ix_batches_content_digest"), "batches", ["content_digest"], unique=False)
    op.create_index(
        op.f("ix_batches_simulator_digest"), "batches", ["simulator_digest"], unique=False
    )
    op.create_table(
        "patch_sets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("name <> ''", name=op.f("ck_patch_sets_named")),
        sa.ForeignKeyConstraint(
            ["variant_digest"],
            ["variants.digest"],
            name=op.f("fk_patch_sets_variant_digest_variants"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch_sets")),
        sa.UniqueConstraint("digest", name=op.f("uq_patch_sets_digest")),
    )
    op.create_index(
        op.f("ix_patch_sets_variant_digest"), "patch_sets", ["variant_digest"], unique=False
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("simulator_digest", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_in_order", sa.Boolean(), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (ended_in_order IS NULL)", name=op.f("ck_workers_ended")
        ),
        sa.ForeignKeyConstraint(
            ["simulator_digest"],
            ["simulators.digest"],
            name=op.f("fk_workers_simulator_digest_simulators"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(
        op.f("ix_workers_simulator_digest"), "workers", ["simulator_digest"], unique=False
    )
    op.create_table(
        "batch_columns",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("patch_set_id", sa.Uuid(), nullable=False),
        sa.Column("prefix_length", sa.BigInteger(), nullable=True),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_batch_columns_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["patch_set_id"],
            ["patch_sets.id"],
            name=op.f("fk_batch_columns_patch_set_id_patch_sets"),
        ),
        sa.ForeignKeyConstraint(
            ["variant_digest"],
            ["variants.digest"],
            name=op.f("fk_batch_columns_variant_digest_variants"),
        ),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("pk_batch_columns")),
    )
    op.create_index(
        op.f("ix_batch_columns_patch_set_id"), "batch_columns", ["patch_set_id"], unique=False
    )
    op.create_index(
        op.f("ix_batch_columns_variant_digest"), "batch_columns", ["variant_digest"], unique=False
    )
    op.create_table(
        "batch_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_batch_events_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_events")),
    )
    op.create_index("ix_batch_events_batch_id_id", "batch_events", ["batch_id", "id"], unique=False)
    op.create_table(
        "batch_traces",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_batch_traces_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"], ["traces.id"], name=op.f("fk_batch_traces_trace_id_traces")
        ),
        sa.PrimaryKeyConstraint("batch_id", "position", name=op.f("pk_batch_traces")),
        sa.UniqueConstraint("batch_id", "trace_id", name=op.f("uq_batch_traces_batch_id")),
    )
    op.create_index(op.f("ix_batch_traces_trace_id"), "batch_traces", ["trace_id"], unique=False)
    op.create_table(
        "patch_set_patches",
        sa.Column("patch_set_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("patch_id", sa.Text(), nullable=False),
        sa.CheckConstraint("position >= 0", name=op.f("ck_patch_set_patches_position")),
        sa.ForeignKeyConstraint(
            ["patch_id"], ["patches.id"], name=op.f("fk_patch_set_patches_patch_id_patches")
        ),
        sa.ForeignKeyConstraint(
            ["patch_set_id"],
            ["patch_sets.id"],
            name=op.f("fk_patch_set_patches_patch_set_id_patch_sets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("patch_set_id", "position", name=op.f("pk_patch_set_patches")),
    )
    op.create_index(
        op.f("ix_patch_set_patches_patch_id"), "patch_set_patches", ["patch_id"], unique=False
    )
    op.create_table(
        "shards",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lost_count", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("events_done", sa.BigInteger(), nullable=False),
        sa.Column("events_total", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)",
            name=op.f("ck_shards_running_has_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled')",
            name=op.f("ck_shards_state_known"),
        ),
        sa.CheckConstraint(
            "attempt >= 1 AND lost_count BETWEEN 0 AND attempt", name=op.f("ck_shards_attempt")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_shards_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"], ["traces.id"], name=op.f("fk_shards_trace_id_traces")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
    )
    op.create_index(op.f("ix_shards_batch_id"), "shards", ["batch_id"], unique=False)
    op.create_index("ix_shards_state_lease_until", "shards", ["state", "lease_until"], unique=False)
    op.create_index(op.f("ix_shards_trace_id"), "shards", ["trace_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.Column("shard_id", sa.Uuid(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result_id", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('done', 'cached', 'crashed')) = (result_id IS NOT NULL)",
            name=op.f("ck_runs_result"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'cached', 'crashed', 'failed', 'cancelled')",
            name=op.f("ck_runs_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_runs_batch_id_batches"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["result_id"], ["results.id"], name=op.f("fk_runs_result_id_results")
        ),
        sa.ForeignKeyConstraint(
            ["shard_id"], ["shards.id"], name=op.f("fk_runs_shard_id_shards"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=op.f("fk_runs_trace_id_traces")),
        sa.ForeignKeyConstraint(
            ["variant_digest"], ["variants.digest"], name=op.f("fk_runs_variant_digest_variants")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint(
            "batch_id", "trace_id", "variant_digest", name=op.f("uq_runs_batch_id")
        ),
    )
    op.create_index(op.f("ix_runs_result_id"), "runs", ["result_id"], unique=False)
    op.create_index(op.f("ix_runs_shard_id"), "runs", ["shard_id"], unique=False)
    op.create_index(op.f("ix_runs_trace_id"), "runs", ["trace_id"], unique=False)
    op.create_index(op.f("ix_runs_variant_digest"), "runs", ["variant_digest"], unique=False)


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index(op.f("ix_runs_variant_digest"), table_name="runs")
    op.drop_index(op.f("ix_runs_trace_id"), table_name="runs")
    op.drop_index(op.f("ix_runs_shard_id"), table_name="runs")
    op.drop_index(op.f("ix_runs_result_id"), table_name="runs")
    op.drop_table("runs")
    op.drop_index(op.f("ix_shards_trace_id"), table_name="shards")
    op.drop_index("ix_shards_state_lease_until", table_name="shards")
    op.drop_index(op.f("ix_shards_batch_id"), table_name="shards")
    op.drop_table("shards")
    op.drop_index(op.f("ix_patch_set_patches_patch_id"), table_name="patch_set_patches")
    op.drop_table("patch_set_patches")
    op.drop_index(op.f("ix_batch_traces_trace_id"), table_name="batch_traces")
    op.drop_table("batch_traces")
    op.drop_index("ix_batch_events_batch_id_id", table_name="batch_events")
    op.drop_table("batch_events")
    op.drop_index(op.f("ix_batch_columns_variant_digest"), table_name="batch_columns")
    op.drop_index(op.f("ix_batch_columns_patch_set_id"), table_name="batch_columns")
    op.drop_table("batch_columns")
    op.drop_index(op.f("ix_workers_simulator_digest"), table_name="workers")
    op.drop_table("workers")
    op.drop_index(op.f("ix_patch_sets_variant_digest"), table_name="patch_sets")
    op.drop_table("patch_sets")
    op.drop_index(op.f("ix_batches_simulator_digest"), table_name="batches")
    op.drop_index(op.f("ix_batches_content_digest"), table_name="batches")
    op.drop_table("batches")
    op.drop_table("variants")
    op.drop_table("traces")
    op.drop_table("simulators")
    op.drop_table("results")
    op.drop_table("patches")
    op.drop_table("idempotency_keys")

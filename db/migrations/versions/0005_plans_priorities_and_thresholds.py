"""Plans by ablation and matrix, priorities, retries, series of patch sets, thresholds.

Revision 0005, after 0004, 2026-11-25 00:10:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PLAN_KNOWN = "ck_batches_plan_known"


def upgrade() -> None:
    """Every new column has a default, so the release before this one goes on writing rows."""
    op.add_column(
        "batches", sa.Column("priority", sa.SmallInteger(), nullable=False, server_default="5")
    )
    op.add_column("batches", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_batches_open", "batches", ["priority"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )  # fmt: skip
    op.add_column("batches", sa.Column("refused", JSONB(), nullable=False, server_default="[]"))
    op.create_check_constraint(op.f("ck_batches_priority"), "batches", "priority BETWEEN 0 AND 9")
    op.drop_constraint(op.f(PLAN_KNOWN), "batches")
    op.create_check_constraint(
        op.f(PLAN_KNOWN), "batches", "plan IN ('each', 'series', 'ablation', 'matrix')"
    )
    for name in ("found", "again"):
        op.add_column(
            "runs", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.execute(
        "UPDATE runs SET found = true"
        " WHERE state = 'cached' OR (state = 'crashed' AND shard_id IS NULL)"
    )
    op.add_column("shards", sa.Column("worker_pid", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_shards_waiting", "shards", ["batch_id", "id"],
        postgresql_where=sa.text("state = 'queued'"),
    )  # fmt: skip
    op.create_index(
        "ix_shards_finished", "shards", ["finished_at"],
        postgresql_where=sa.text("state = 'done'"),
    )  # fmt: skip
    op.create_index(
        "ix_results_alarmed", "results", ["id"],
        postgresql_where=sa.text("integrity_alarm IS NOT NULL"),
    )  # fmt: skip
    op.add_column("patch_sets", sa.Column("series", sa.Text(), nullable=True))
    op.add_column("patch_sets", sa.Column("version", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_patch_sets_series"), "patch_sets", ["series"])
    op.create_check_constraint(
        op.f("ck_patch_sets_series_has_version"),
        "patch_sets",
        "(series IS NULL) = (version IS NULL)",
    )
    op.create_check_constraint(op.f("ck_patch_sets_version"), "patch_sets", "version >= 1")


def downgrade() -> None:
    """Batches of the new plans cannot stay: the release before this one does not know them."""
    for name in ("series_has_version", "version"):
        op.drop_constraint(op.f(f"ck_patch_sets_{name}"), "patch_sets")
    op.drop_index(op.f("ix_patch_sets_series"), "patch_sets")
    op.drop_column("patch_sets", "version")
    op.drop_column("patch_sets", "series")
    op.drop_index("ix_results_alarmed", "results")
    op.drop_index("ix_shards_finished", "shards")
    op.drop_index("ix_shards_waiting", "shards")
    op.drop_column("shards", "worker_pid")
    op.drop_column("runs", "again")
    op.drop_column("runs", "found")
    op.execute("DELETE FROM batches WHERE plan NOT IN ('each', 'series')")
    op.drop_constraint(op.f(PLAN_KNOWN), "batches")
    op.create_check_constraint(op.f(PLAN_KNOWN), "batches", "plan IN ('each', 'series')")
    op.drop_constraint(op.f("ck_batches_priority"), "batches")
    op.drop_column("batches", "refused")
    op.drop_index("ix_batches_open", "batches")
    op.drop_column("batches", "claimed_at")
    op.drop_column("batches", "priority")

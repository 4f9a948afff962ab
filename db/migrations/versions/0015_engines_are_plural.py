"""Engines are plural: variants and simulators name theirs, batches and workers have several.

Revision 0015, after 0014, 2026-11-29 17:20:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Everything there is belongs to the model of 2010, but for variants on the base ``walk``.

    Digests stay as they are: what an engine was called before is the lineage's to know
    (``refault/lineage.py``). What the previous release writes says nothing of engines, and means
    ``shadow``.
    """
    for table in ("variants", "simulators", "batches"):
        op.add_column(
            table, sa.Column("engine", sa.Text(), server_default="shadow", nullable=False)
        )
    op.execute("UPDATE variants SET engine = 'walk' WHERE base = 'walk'")
    op.add_column(
        "batches", sa.Column("other_simulators", JSONB(), server_default="{}", nullable=False)
    )
    op.add_column("shards", sa.Column("simulator_digest", sa.String(64), nullable=True))
    op.create_foreign_key(
        op.f("fk_shards_simulator_digest_simulators"),
        "shards",
        "simulators",
        ["simulator_digest"],
        ["digest"],
    )
    op.add_column(
        "workers",
        sa.Column("other_simulators", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )


def downgrade() -> None:
    """Only the simulator of a batch's base is left; a shard of another engine would be its too."""
    op.drop_column("workers", "other_simulators")
    op.drop_constraint(op.f("fk_shards_simulator_digest_simulators"), "shards")
    op.drop_column("shards", "simulator_digest")
    op.drop_column("batches", "other_simulators")
    for table in ("batches", "simulators", "variants"):
        op.drop_column(table, "engine")

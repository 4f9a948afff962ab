"""A shard remembers the snapshot its next attempt goes on from.

Revision 0006, after 0005, 2026-11-25 00:10:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Shards under way have none; they start from the beginning, as before."""
    op.add_column("shards", sa.Column("snapshot_digest", sa.String(64), nullable=True))
    op.add_column("shards", sa.Column("snapshot_events", sa.BigInteger(), nullable=True))
    op.create_check_constraint(
        op.f("ck_shards_snapshot_digest_is_sha256"),
        "shards",
        "snapshot_digest ~ '^[0-9a-f]{64}$'",
    )
    op.create_check_constraint(
        op.f("ck_shards_snapshot_is_whole"),
        "shards",
        "(snapshot_digest IS NULL) = (snapshot_events IS NULL)",
    )


def downgrade() -> None:
    """The files are left to whoever empties the folder."""
    op.drop_column("shards", "snapshot_events")
    op.drop_column("shards", "snapshot_digest")

"""Projects have a time limit of their own for a shard.

Revision 0014, after 0013, 2026-11-29 12:00:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No project has one yet. The previous release does not look at it."""
    op.add_column("projects", sa.Column("shard_seconds", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_projects_shard_seconds"), "projects", "shard_seconds > 0")


def downgrade() -> None:
    """Every shard has the service's limit again."""
    op.drop_constraint(op.f("ck_projects_shard_seconds"), "projects")
    op.drop_column("projects", "shard_seconds")

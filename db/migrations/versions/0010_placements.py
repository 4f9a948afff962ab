"""Files that are being put in place are known before they are, so that none is left to nobody.

Revision 0010, after 0009, 2026-11-25 05:00:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is under way that the previous release would have written down."""
    op.create_table(
        "placements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_placements_digest_is_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_placements")),
    )
    op.create_index(op.f("ix_placements_created_at"), "placements", ["created_at"])


def downgrade() -> None:
    """Forgets what was under way; files left behind are found by ``python -m db verify``."""
    op.drop_table("placements")

"""Files on their way out are known, so that no lock is held while a store removes them.

Revision 0012, after 0011, 2026-11-29 11:30:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The previous release takes such a row for that of an upload, and does no harm with it."""
    op.add_column(
        "placements",
        sa.Column("is_removal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )


def downgrade() -> None:
    """What was on its way out is then taken for what was on its way in, and removed as well."""
    op.drop_column("placements", "is_removal")

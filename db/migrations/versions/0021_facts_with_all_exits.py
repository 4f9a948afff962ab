"""Facts of results have all exits of the guest, so that costs can be weighed without the results.

Revision 0021, after 0020, 2026-11-30 13:30:00.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Facts of one release are none to the other; upkeep adds them again."""
    op.execute("UPDATE results SET facts = NULL WHERE facts IS NOT NULL")


def downgrade() -> None:
    """The release before goes back to the results, until its upkeep has added its own facts."""
    op.execute("UPDATE results SET facts = NULL WHERE facts IS NOT NULL")

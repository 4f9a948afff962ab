"""Every question names the engines it needs: workers claim by them, and earlier ones did not.

Revision 0024, after 0023, 2026-11-30 16:10:00.
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Without a name none is claimed: what is not said could be a user's own kernel."""
    op.execute(
        """
        UPDATE questions SET asked = asked || jsonb_build_object('engines', (
            SELECT jsonb_agg(DISTINCT variants.engine) FROM variants
            WHERE questions.asked -> 'variants' ? variants.digest))
        WHERE NOT asked ? 'engines'
        """
    )


def downgrade() -> None:
    """The release before does not look at them."""

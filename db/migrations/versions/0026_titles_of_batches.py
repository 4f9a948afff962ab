"""Batches have a title of their own, which their maker gives them.

Revision 0026, after 0025, 2026-11-30 18:16:00.
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A constant default: no row is rewritten, and the release before need not know of it."""
    op.execute("ALTER TABLE batches ADD COLUMN title text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """The titles are gone."""
    op.execute("ALTER TABLE batches DROP COLUMN title")

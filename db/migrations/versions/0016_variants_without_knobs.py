"""The knobs of a variant are written by nobody: base, patches and parameters say the same.

Revision 0016, after 0015, 2026-11-29 20:20:00.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The previous release goes on writing and reading them, so the column itself stays for now."""
    op.alter_column("variants", "knobs", nullable=True)


def downgrade() -> None:
    """What was written since has no knobs; the previous release makes no use of them either."""
    op.execute("UPDATE variants SET knobs = '{}' WHERE knobs IS NULL")
    op.alter_column("variants", "knobs", nullable=False)

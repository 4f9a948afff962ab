"""Beside each result what verdicts rest on, so that a whole batch is judged without its bodies.

Revision 0013, after 0012, 2026-11-29 11:45:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The release before this one writes no facts; upkeep adds them, as to the rows of before."""
    op.add_column("results", sa.Column("facts", sa.LargeBinary(), nullable=True))
    op.create_index(
        "ix_results_without_facts",
        "results",
        ["id"],
        postgresql_where=sa.text("facts IS NULL AND body IS NOT NULL"),
    )


def downgrade() -> None:
    """Facts are made of bodies; nothing is lost."""
    op.drop_index("ix_results_without_facts", "results")
    op.drop_column("results", "facts")

"""Verdicts and submitters of batches, and when users last visited.

Revision 0020, after 0019, 2026-11-30 13:30:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nullable columns and a new table: the release before this one goes on unaware."""
    op.add_column("batches", sa.Column("user_id", sa.Uuid(), nullable=True))
    op.add_column("batches", sa.Column("token_id", sa.Uuid(), nullable=True))
    op.add_column("batches", sa.Column("verdict", postgresql.JSONB(), nullable=True))
    op.add_column("batches", sa.Column("verdict_key", sa.Text(), nullable=True))
    for column, table in (("user_id", "users"), ("token_id", "tokens")):
        op.create_foreign_key(
            op.f(f"fk_batches_{column}_{table}"),
            "batches",
            table,
            [column],
            ["id"],
            ondelete="SET NULL",
        )
    op.create_index(
        "ix_batches_unjudged",
        "batches",
        ["id"],
        postgresql_where=sa.text(
            "verdict_key IS NULL AND state IN ('done', 'failed', 'cancelled')"
        ),
    )
    op.create_table(
        "visits",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_visits_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_visits_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_visits")),
    )
    op.create_index(op.f("ix_visits_user_id"), "visits", ["user_id"])


def downgrade() -> None:
    """Verdicts are judged again; who submitted and visited is lost."""
    op.drop_table("visits")
    op.drop_index("ix_batches_unjudged", "batches")
    for column in ("verdict_key", "verdict", "token_id", "user_id"):
        op.drop_column("batches", column)

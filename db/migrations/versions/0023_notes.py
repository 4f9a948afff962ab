"""Notes on cells of batches and on patches.

Revision 0023, after 0022, 2026-11-30 14:15:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own: the release before this one does not look at it."""
    op.create_table(
        "notes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("trace_digest", sa.String(length=64), nullable=True),
        sa.Column("variant_digest", sa.String(length=64), nullable=True),
        sa.Column("patch_id", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(patch_id IS NULL) = (batch_id IS NOT NULL)"
            " AND (batch_id IS NULL) = (trace_digest IS NULL)"
            " AND (batch_id IS NULL) = (variant_digest IS NULL)",
            name=op.f("ck_notes_one_place"),
        ),
        sa.CheckConstraint(
            "length(text) BETWEEN 1 AND 2000", name=op.f("ck_notes_text_is_bounded")
        ),
        sa.CheckConstraint(
            "trace_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_notes_trace_digest_is_sha256")
        ),
        sa.CheckConstraint(
            "variant_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_notes_variant_digest_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["batches.id"],
            name=op.f("fk_notes_batch_id_batches"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_notes_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"], ["tokens.id"], name=op.f("fk_notes_token_id_tokens"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_notes_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    for name in ("batch_id", "patch_id", "project_id"):
        op.create_index(op.f(f"ix_notes_{name}"), "notes", [name], unique=False)


def downgrade() -> None:
    """Notes are gone."""
    op.drop_table("notes")

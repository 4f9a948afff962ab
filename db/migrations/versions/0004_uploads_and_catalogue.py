"""Uploads in several requests; what people and statistics say of a trace.

Revision 0004, after 0003, 2026-11-24 23:58:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Works with the release before this one: what it does not write has a default."""
    text_array = postgresql.ARRAY(sa.Text())
    for column in (
        sa.Column("statistics", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb")),
        sa.Column("tags", text_array, server_default=sa.text("'{}'::text[]")),
        sa.Column("note", sa.Text(), server_default=""),
        sa.Column("guest", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb")),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
    ):
        column.nullable = False
        op.add_column("traces", column)
    op.execute(
        "UPDATE traces SET updated_at = created_at,"
        " guest = coalesce(header -> 'guest', '{}'::jsonb)"
    )
    op.create_index("ix_traces_tags", "traces", ["tags"], postgresql_using="gin")
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("metadata_header", sa.Text(), nullable=False),
        sa.Column("wishes", postgresql.JSONB(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_offset", sa.BigInteger(), nullable=True),
        sa.Column("trace_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'done', 'refused')", name=op.f("ck_uploads_state_known")
        ),
        sa.CheckConstraint("offset_bytes BETWEEN 0 AND size_bytes", name=op.f("ck_uploads_offset")),
        sa.CheckConstraint(
            "(state = 'done') = (offset_bytes = size_bytes AND size_bytes > 0)",
            name=op.f("ck_uploads_done"),
        ),
        sa.CheckConstraint(
            "(state = 'refused') = (error IS NOT NULL)", name=op.f("ck_uploads_refused_has_reason")
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"],
            ["traces.id"],
            name=op.f("fk_uploads_trace_id_traces"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_uploads_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    # How long traces stay that nobody uses or keeps; null, as at first: for ever.
    op.add_column("projects", sa.Column("retention_days", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_projects_retention_days"), "projects", "retention_days > 0")
    for column in ("project_id", "digest", "trace_id", "expires_at"):
        op.create_index(op.f(f"ix_uploads_{column}"), "uploads", [column])


def downgrade() -> None:
    """Unfinished uploads start over; names stay, tags and notes are lost."""
    op.drop_column("projects", "retention_days")
    op.drop_table("uploads")
    op.drop_index("ix_traces_tags", "traces")
    for column in ("updated_at", "guest", "note", "tags", "statistics"):
        op.drop_column("traces", column)

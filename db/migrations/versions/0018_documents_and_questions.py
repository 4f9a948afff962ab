"""Documents beside results, and the questions that workers answer with them.

Revision 0018, after 0017, 2026-11-30 09:50:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_DIGESTS = ("digest", "trace_digest", "variant_digest", "simulator_digest", "body_digest")


def upgrade() -> None:
    """Only new tables: the release before this one goes on unaware."""
    op.create_table(
        "documents",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("trace_digest", sa.String(length=64), nullable=False),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.Column("simulator_digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        *(
            sa.CheckConstraint(
                f"{column} ~ '^[0-9a-f]{{64}}$'", name=op.f(f"ck_documents_{column}_is_sha256")
            )
            for column in _DIGESTS
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_documents")),
    )
    op.create_index(
        "ix_documents_run", "documents", ["trace_digest", "variant_digest", "kind"], unique=False
    )
    op.create_table(
        "questions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Uuid(), nullable=False),
        sa.Column("asked", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("document_digest", sa.String(length=64), nullable=False),
        sa.Column("units_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("units_total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lost_count", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("worker_pid", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('audit', 'divergence', 'inspection')",
            name=op.f("ck_questions_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed')",
            name=op.f("ck_questions_state_known"),
        ),
        sa.CheckConstraint(
            "attempt >= 1 AND lost_count BETWEEN 0 AND attempt", name=op.f("ck_questions_attempt")
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)",
            name=op.f("ck_questions_running_has_lease"),
        ),
        sa.CheckConstraint(
            "document_digest ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_questions_document_digest_is_sha256"),
        ),
        sa.ForeignKeyConstraint(
            ["trace_id"],
            ["traces.id"],
            name=op.f("fk_questions_trace_id_traces"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_questions_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_questions_token_id_tokens"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_questions_user_id_users"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questions")),
        sa.UniqueConstraint("project_id", "document_digest", name=op.f("uq_questions_project_id")),
    )
    op.create_index(op.f("ix_questions_project_id"), "questions", ["project_id"], unique=False)
    op.create_index(op.f("ix_questions_trace_id"), "questions", ["trace_id"], unique=False)
    op.create_index(
        "ix_questions_state_lease_until", "questions", ["state", "lease_until"], unique=False
    )
    op.add_column("batches", sa.Column("audit_level", sa.Text(), nullable=True))


def downgrade() -> None:
    """Documents and questions are gone; they can be made again."""
    op.drop_column("batches", "audit_level")
    op.drop_table("questions")
    op.drop_table("documents")

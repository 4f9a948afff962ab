"""What results and audits found, by kind: searched over a corpus without reading bodies.

Revision 0022, after 0021, 2026-11-30 14:00:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The release before this one files nothing; upkeep does, as for the rows of before."""
    for table in ("results", "documents"):
        op.add_column(
            table,
            sa.Column("is_filed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        )
    op.create_index(
        "ix_results_unfiled",
        "results",
        ["id"],
        postgresql_where=sa.text("NOT is_filed AND body IS NOT NULL"),
    )
    op.create_index(
        "ix_documents_unfiled",
        "documents",
        ["digest"],
        postgresql_where=sa.text("NOT is_filed AND kind = 'audit'"),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("result_id", sa.Uuid(), nullable=True),
        sa.Column("document_digest", sa.String(length=64), nullable=True),
        sa.Column("trace_digest", sa.String(length=64), nullable=False),
        sa.Column("variant_digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("is_guest_visible", sa.Boolean(), nullable=False),
        sa.Column("exception", sa.Text(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("is_all", sa.Boolean(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), nullable=False),
        sa.Column("operation_index", sa.BigInteger(), nullable=False),
        sa.Column("vcpu", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("address_kind", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(result_id IS NULL) <> (document_digest IS NULL)", name=op.f("ck_findings_of_one")
        ),
        sa.CheckConstraint(
            "trace_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_findings_trace_digest_is_sha256")
        ),
        sa.CheckConstraint(
            "variant_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_findings_variant_digest_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["document_digest"],
            ["documents.digest"],
            name=op.f("fk_findings_document_digest_documents"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["result_id"],
            ["results.id"],
            name=op.f("fk_findings_result_id_results"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
        sa.UniqueConstraint("result_id", "kind", name=op.f("uq_findings_result_id")),
        sa.UniqueConstraint("document_digest", "kind", name=op.f("uq_findings_document_digest")),
    )
    op.create_index("ix_findings_kind", "findings", ["kind", "variant_digest"])


def downgrade() -> None:
    """Findings are made of bodies; nothing is lost."""
    op.drop_table("findings")
    op.drop_index("ix_documents_unfiled", "documents")
    op.drop_index("ix_results_unfiled", "results")
    for table in ("documents", "results"):
        op.drop_column(table, "is_filed")

"""People who log in by an OpenID issuer, and batches that know the trace of their request.

Revision 0009, after 0008, 2026-11-25 04:00:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody is linked yet, and nobody invited: accounts stay as they are."""
    op.add_column("users", sa.Column("email", sa.Text(), nullable=True))
    op.create_unique_constraint(op.f("uq_users_email"), "users", ["email"])
    op.create_check_constraint(
        op.f("ck_users_email_is_plain"), "users", "email ~ '^[^@[:space:]]+@[^@[:space:]]+$'"
    )
    op.create_check_constraint(op.f("ck_users_email_is_lower"), "users", "email = lower(email)")
    op.add_column("batches", sa.Column("trace_context", sa.Text(), nullable=True))
    op.create_table(
        "identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_identities_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name="uq_identities_subject"),
        sa.UniqueConstraint("user_id", "issuer", name="uq_identities_user"),
    )
    op.create_table(
        "login_flows",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        sa.Column("state_digest", sa.String(64), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("code_verifier", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _created_at(),
        sa.CheckConstraint(
            "secret_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_login_flows_secret_digest_is_sha256")
        ),
        sa.CheckConstraint(
            "state_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_login_flows_state_digest_is_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_flows")),
        sa.UniqueConstraint("secret_digest", name=op.f("uq_login_flows_secret_digest")),
    )
    op.create_index(op.f("ix_login_flows_expires_at"), "login_flows", ["expires_at"])


def _created_at() -> sa.Column:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def downgrade() -> None:
    """Forgets who is linked and invited; whoever has no password cannot log in any more."""
    op.drop_table("login_flows")
    op.drop_table("identities")
    op.drop_column("batches", "trace_context")
    op.drop_constraint(op.f("ck_users_email_is_lower"), "users")
    op.drop_constraint(op.f("ck_users_email_is_plain"), "users")
    op.drop_constraint(op.f("uq_users_email"), "users")
    op.drop_column("users", "email")

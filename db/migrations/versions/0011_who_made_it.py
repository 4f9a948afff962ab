"""Traces, results and share links know who made them; webhooks take turns; browsers are known.

Revision 0011, after 0010, 2026-11-29 11:00:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Who made a link stood in it as text only, as the audit names callers.
LINKS_KNOW_THEIR_MAKERS = """
UPDATE share_links SET user_id = users.id
  FROM users WHERE share_links.made_by = 'user ' || users.name
"""
LINKS_KNOW_THEIR_TOKENS = """
UPDATE share_links SET token_id = found.id, user_id = found.user_id
  FROM (SELECT project_id, name, (array_agg(id))[1] AS id, (array_agg(user_id))[1] AS user_id
          FROM tokens GROUP BY project_id, name HAVING count(*) = 1) AS found
 WHERE share_links.project_id = found.project_id AND share_links.made_by = 'token ' || found.name
"""


def upgrade() -> None:
    """What is there already was made by nobody known: only maintainers delete such traces."""
    op.add_column("results", sa.Column("project_id", sa.Uuid(), nullable=True))
    for table, ondelete in (("traces", "SET NULL"), ("uploads", "SET NULL")):
        _add_maker(table, ondelete)
    _add_maker("share_links", "CASCADE")
    op.execute(LINKS_KNOW_THEIR_MAKERS)
    op.execute(LINKS_KNOW_THEIR_TOKENS)
    op.execute(
        "UPDATE share_links SET expires_at = now() + interval '90 days' WHERE expires_at IS NULL"
    )
    op.create_index(op.f("ix_share_links_user_id"), "share_links", ["user_id"])
    op.create_index(op.f("ix_share_links_token_id"), "share_links", ["token_id"])

    op.add_column("webhooks", sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["webhook_id", "next_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )

    op.create_table(
        "devices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "secret_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_devices_secret_digest_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_devices_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("secret_digest", name=op.f("uq_devices_secret_digest")),
    )
    op.create_index(op.f("ix_devices_user_id"), "devices", ["user_id"])


def _add_maker(table: str, ondelete: str) -> None:
    for column, target in (("user_id", "users"), ("token_id", "tokens")):
        op.add_column(table, sa.Column(column, sa.Uuid(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_{column}_{target}"), table, target, [column], ["id"],
            ondelete=ondelete,
        )  # fmt: skip


def downgrade() -> None:
    """Forgets who made what; links that expire now go on doing so."""
    op.drop_table("devices")
    op.drop_index("ix_webhook_deliveries_waiting", table_name="webhook_deliveries")
    op.drop_column("webhooks", "taken_at")
    op.drop_column("results", "project_id")
    for table in ("share_links", "uploads", "traces"):
        for column in ("token_id", "user_id"):
            op.drop_column(table, column)

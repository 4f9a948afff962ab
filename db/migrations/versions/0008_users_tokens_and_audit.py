"""Users, roles, tokens, sessions, share links, quotas, and an audit that cannot be rewritten.

Revision 0008, after 0007, 2026-11-25 00:10:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

QUOTAS = ("quota_bytes", "quota_traces", "quota_queued_runs", "requests_per_minute")
TABLES = (
    "rate_windows", "audit", "share_links", "login_sessions", "tokens", "memberships", "users",
)  # fmt: skip


def upgrade() -> None:
    """Nobody has an account yet: ``python -m services.api.admin`` makes the first."""
    for name in QUOTAS:
        op.add_column("projects", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "users",
        _id(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _time("disabled_at"),
        _created_at(),
        sa.CheckConstraint(
            "name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name=op.f("ck_users_name_is_plain")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "memberships",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        _created_at(),
        sa.CheckConstraint(
            "role IN ('viewer', 'contributor', 'maintainer')",
            name=op.f("ck_memberships_role_is_known"),
        ),
        _refers("memberships", "project_id", "projects"),
        _refers("memberships", "user_id", "users"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"])
    _create_secrets()
    op.create_table(
        "rate_windows",
        sa.Column("key", sa.Text(), nullable=False),
        _time("started_at", nullable=False),
        sa.Column("done_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_windows")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_rate_windows_started_at"), "rate_windows", ["started_at"])
    _create_audit()


def _create_secrets() -> None:
    _create_secret(
        "tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        _time("expires_at"),
        _time("last_used_at"),
        refers={"user_id": ("users", "CASCADE"), "project_id": ("projects", "CASCADE")},
    )
    _create_secret(
        "login_sessions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        _time("expires_at", nullable=False),
        refers={"user_id": ("users", "CASCADE"), "project_id": ("projects", "SET NULL")},
    )
    _create_secret(
        "share_links",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        _time("expires_at"),
        refers={"batch_id": ("batches", "CASCADE"), "project_id": ("projects", "CASCADE")},
    )


def _create_secret(table: str, *columns: sa.Column, refers: dict[str, tuple[str, str]]) -> None:
    op.create_table(
        table,
        _id(),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        *columns,
        _time("revoked_at"),
        _created_at(),
        sa.CheckConstraint(
            "secret_digest ~ '^[0-9a-f]{64}$'", name=op.f(f"ck_{table}_secret_digest_is_sha256")
        ),
        *(_refers(table, column, *target) for column, target in refers.items()),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("secret_digest", name=op.f(f"uq_{table}_secret_digest")),
    )
    for column in refers:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _create_audit() -> None:
    op.create_table(
        "audit",
        _id(),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_project_id"), "audit", ["project_id"])
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'table % is only ever added to', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _id() -> sa.Column:
    return sa.Column("id", sa.Uuid(), nullable=False)


def _time(name: str, *, nullable: bool = True) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _created_at() -> sa.Column:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _refers(
    table: str, column: str, target: str, ondelete: str = "CASCADE"
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}_{target}"), ondelete=ondelete
    )


def downgrade() -> None:
    """Forgets every account, and with the audit who did what."""
    for table in TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    for name in QUOTAS:
        op.drop_column("projects", name)

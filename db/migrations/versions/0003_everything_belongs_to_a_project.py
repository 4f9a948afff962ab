"""Everything belongs to a project; what there is goes to the first one.

Revision 0003, after 0002, 2026-11-24 23:55:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OWNED = ("traces", "patch_sets", "batches", "runs", "shards")
NAMED_BY_DIGEST = ("traces", "patch_sets")


def upgrade() -> None:
    """One project at first, so that nobody's work disappears."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_projects_name_is_plain")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.execute(
        "INSERT INTO projects (id, name) VALUES ('01900000-0000-7000-8000-000000000001', 'main')"
    )
    for table in OWNED:
        _add_project(table)
        op.create_index(op.f(f"ix_{table}_project_id"), table, ["project_id"])
    for table in NAMED_BY_DIGEST:
        op.drop_constraint(op.f(f"uq_{table}_digest"), table)
        op.create_unique_constraint(op.f(f"uq_{table}_project_id"), table, ["project_id", "digest"])
    _add_project("idempotency_keys")
    op.drop_constraint(op.f("pk_idempotency_keys"), "idempotency_keys")
    op.create_primary_key(
        op.f("pk_idempotency_keys"), "idempotency_keys", ["project_id", "key", "route"]
    )


def _add_project(table: str) -> None:
    op.add_column(table, sa.Column("project_id", sa.Uuid(), nullable=True))
    op.execute(
        f"UPDATE {table} SET project_id = (SELECT id FROM projects)"  # noqa: S608  # one of ours
    )
    op.alter_column(table, "project_id", nullable=False)
    op.create_foreign_key(
        op.f(f"fk_{table}_project_id_projects"),
        table,
        "projects",
        ["project_id"],
        ["id"],
        ondelete="CASCADE",
    )


def downgrade() -> None:
    """Works while no two projects hold the same trace or patch set."""
    op.drop_constraint(op.f("pk_idempotency_keys"), "idempotency_keys")
    op.create_primary_key(op.f("pk_idempotency_keys"), "idempotency_keys", ["key", "route"])
    for table in NAMED_BY_DIGEST:
        op.drop_constraint(op.f(f"uq_{table}_project_id"), table)
        op.create_unique_constraint(op.f(f"uq_{table}_digest"), table, ["digest"])
    for table in (*OWNED, "idempotency_keys"):
        op.drop_column(table, "project_id")
    op.drop_table("projects")

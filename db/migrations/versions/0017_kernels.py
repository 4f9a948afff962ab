"""Kernels of users' own trees: trees, patches on them, builds and programs.

Revision 0017, after 0016, 2026-11-30 02:20:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only new tables and columns with defaults: the release before this one goes on unaware."""
    op.create_table(
        "programs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("file_digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("objects_digest", sa.String(length=64), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_programs_digest_is_sha256")),
        sa.CheckConstraint(
            "file_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_programs_file_digest_is_sha256")
        ),
        sa.CheckConstraint(
            "objects_digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_programs_objects_digest_is_sha256")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_programs")),
    )
    op.create_index(op.f("ix_programs_file_digest"), "programs", ["file_digest"], unique=False)
    op.create_table(
        "trees",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name=op.f("ck_trees_digest_is_sha256")),
        sa.CheckConstraint("size_bytes > 0 AND file_count > 0", name=op.f("ck_trees_sizes")),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_trees_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"], ["tokens.id"], name=op.f("fk_trees_token_id_tokens"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_trees_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trees")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_trees_project_id")),
    )
    op.create_index(op.f("ix_trees_digest"), "trees", ["digest"], unique=False)
    op.create_index(op.f("ix_trees_project_id"), "trees", ["project_id"], unique=False)
    op.create_table(
        "kernels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tree_id", sa.Uuid(), nullable=False),
        sa.Column("sanitize", sa.Boolean(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "name ~ '^[a-z0-9][a-z0-9._-]{0,39}$'", name=op.f("ck_kernels_name_is_plain")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_kernels_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_kernels_token_id_tokens"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(["tree_id"], ["trees.id"], name=op.f("fk_kernels_tree_id_trees")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_kernels_user_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kernels")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_kernels_project_id")),
    )
    op.create_index(op.f("ix_kernels_project_id"), "kernels", ["project_id"], unique=False)
    op.create_index(op.f("ix_kernels_tree_id"), "kernels", ["tree_id"], unique=False)
    op.create_table(
        "kernel_builds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kernel_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("patches", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lost_count", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("worker_pid", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("log", sa.Text(), server_default="", nullable=False),
        sa.Column("units_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("units_total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("program_digest", sa.String(length=64), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("check_text", sa.Text(), nullable=True),
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
        sa.CheckConstraint(
            "(state = 'done') = ((program_digest IS NULL) <> (refusal IS NULL))",
            name=op.f("ck_kernel_builds_done_has_outcome"),
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)",
            name=op.f("ck_kernel_builds_running_has_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed')",
            name=op.f("ck_kernel_builds_state_known"),
        ),
        sa.CheckConstraint(
            "attempt >= 1 AND lost_count BETWEEN 0 AND attempt",
            name=op.f("ck_kernel_builds_attempt"),
        ),
        sa.ForeignKeyConstraint(
            ["kernel_id"],
            ["kernels.id"],
            name=op.f("fk_kernel_builds_kernel_id_kernels"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["program_digest"],
            ["programs.digest"],
            name=op.f("fk_kernel_builds_program_digest_programs"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_kernel_builds_project_id_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kernel_builds")),
        sa.UniqueConstraint("kernel_id", "patches", name=op.f("uq_kernel_builds_kernel_id")),
    )
    op.create_index(
        op.f("ix_kernel_builds_kernel_id"), "kernel_builds", ["kernel_id"], unique=False
    )
    op.create_index(
        op.f("ix_kernel_builds_program_digest"), "kernel_builds", ["program_digest"], unique=False
    )
    op.create_index(
        op.f("ix_kernel_builds_project_id"), "kernel_builds", ["project_id"], unique=False
    )
    op.create_index(
        "ix_kernel_builds_state_lease_until",
        "kernel_builds",
        ["state", "lease_until"],
        unique=False,
    )
    op.create_table(
        "kernel_patches",
        sa.Column("kernel_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_kernel_patches_number")),
        sa.ForeignKeyConstraint(
            ["kernel_id"],
            ["kernels.id"],
            name=op.f("fk_kernel_patches_kernel_id_kernels"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("kernel_id", "number", name=op.f("pk_kernel_patches")),
    )
    op.add_column("patch_sets", sa.Column("kernel_id", sa.Uuid(), nullable=True))
    op.add_column(
        "patch_sets", sa.Column("kernel_patches", postgresql.ARRAY(sa.BigInteger()), nullable=True)
    )
    op.create_index(op.f("ix_patch_sets_kernel_id"), "patch_sets", ["kernel_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_patch_sets_kernel_id_kernels"),
        "patch_sets",
        "kernels",
        ["kernel_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.add_column(
        "projects", sa.Column("build_role", sa.Text(), server_default="maintainer", nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_projects_build_role_known"),
        "projects",
        "build_role IN ('nobody', 'maintainer', 'contributor')",
    )
    op.add_column("uploads", sa.Column("tree_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_uploads_tree_id"), "uploads", ["tree_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_uploads_tree_id_trees"),
        "uploads",
        "trees",
        ["tree_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.add_column(
        "workers",
        sa.Column("can_build", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )


def downgrade() -> None:
    """Kernels are gone; patch sets on them stay, with a base that nothing resolves any more."""
    op.drop_column("workers", "can_build")
    op.drop_constraint(op.f("fk_uploads_tree_id_trees"), "uploads", type_="foreignkey")
    op.drop_index(op.f("ix_uploads_tree_id"), table_name="uploads")
    op.drop_column("uploads", "tree_id")
    op.drop_constraint(op.f("ck_projects_build_role_known"), "projects")
    op.drop_column("projects", "build_role")
    op.drop_constraint(op.f("fk_patch_sets_kernel_id_kernels"), "patch_sets", type_="foreignkey")
    op.drop_index(op.f("ix_patch_sets_kernel_id"), table_name="patch_sets")
    op.drop_column("patch_sets", "kernel_patches")
    op.drop_column("patch_sets", "kernel_id")
    op.drop_table("kernel_patches")
    op.drop_index("ix_kernel_builds_state_lease_until", table_name="kernel_builds")
    op.drop_index(op.f("ix_kernel_builds_project_id"), table_name="kernel_builds")
    op.drop_index(op.f("ix_kernel_builds_program_digest"), table_name="kernel_builds")
    op.drop_index(op.f("ix_kernel_builds_kernel_id"), table_name="kernel_builds")
    op.drop_table("kernel_builds")
    op.drop_index(op.f("ix_kernels_tree_id"), table_name="kernels")
    op.drop_index(op.f("ix_kernels_project_id"), table_name="kernels")
    op.drop_table("kernels")
    op.drop_index(op.f("ix_trees_project_id"), table_name="trees")
    op.drop_index(op.f("ix_trees_digest"), table_name="trees")
    op.drop_table("trees")
    op.drop_index(op.f("ix_programs_file_digest"), table_name="programs")
    op.drop_table("programs")

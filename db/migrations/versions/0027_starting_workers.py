"""Workers that are starting say what they compile, and how far they are.

Revision 0027, after 0026, 2026-11-30 21:00:00.
"""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own: a worker that is starting has no simulator yet."""
    op.execute(
        """
        CREATE TABLE worker_starts (
            name text NOT NULL,
            host text NOT NULL,
            pid bigint NOT NULL,
            step text NOT NULL,
            step_number bigint NOT NULL,
            step_count bigint NOT NULL,
            kernels_done bigint NOT NULL,
            kernels_total bigint NOT NULL,
            started_at timestamptz DEFAULT now() NOT NULL,
            heartbeat_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT pk_worker_starts PRIMARY KEY (name)
        )
        """
    )


def downgrade() -> None:
    """Nobody is told any more."""
    op.execute("DROP TABLE worker_starts")

"""A key is claimed before the body of its request is known.

Revision 0002, after 0001, 2026-11-24 19:35:00.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = "ck_idempotency_keys_answered_whole"


def upgrade() -> None:
    """The release before this one writes no keys."""
    op.alter_column(
        "idempotency_keys", "request_digest", existing_type=sa.String(64), nullable=True
    )
    op.drop_constraint(op.f(NAME), "idempotency_keys")
    op.create_check_constraint(
        op.f(NAME),
        "idempotency_keys",
        "(status IS NULL) = (response IS NULL) AND (status IS NULL) = (request_digest IS NULL)",
    )


def downgrade() -> None:
    """Keys are kept for a day only, so forgetting them is no loss."""
    op.execute("DELETE FROM idempotency_keys")
    op.drop_constraint(op.f(NAME), "idempotency_keys")
    op.create_check_constraint(
        op.f(NAME), "idempotency_keys", "(status IS NULL) = (response IS NULL)"
    )
    op.alter_column(
        "idempotency_keys", "request_digest", existing_type=sa.String(64), nullable=False
    )

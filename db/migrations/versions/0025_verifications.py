"""A trace is asked about itself: questions of kind verification.

Revision 0025, after 0024, 2026-11-30 18:00:00.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_NAME = "ck_questions_kind_known"
_BEFORE = "kind IN ('audit', 'divergence', 'inspection')"
_AFTER = "kind IN ('audit', 'divergence', 'inspection', 'verification')"


def upgrade() -> None:
    """Only more is allowed: the release before asks nothing of the new kind."""
    op.drop_constraint(op.f(_NAME), "questions", type_="check")
    op.create_check_constraint(op.f(_NAME), "questions", _AFTER)


def downgrade() -> None:
    """Questions that the release before does not know go; documents stay, as results do."""
    op.execute("DELETE FROM questions WHERE kind = 'verification'")
    op.drop_constraint(op.f(_NAME), "questions", type_="check")
    op.create_check_constraint(op.f(_NAME), "questions", _BEFORE)

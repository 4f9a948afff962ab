"""The verdict kept beside a batch, so that a list of batches reads no facts.

A kept verdict holds for one key: what it was judged by. A verdict under another key is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, BatchTrace, Question
from db.models.batches import BATCH_FINAL_STATES
from db.repositories.pagination import among
from db.scope import project_of


def keep(
    session: Session, batch_id: uuid.UUID, verdict: dict[str, Any] | None, key: str | None
) -> None:
    """Keep a verdict and what it was judged by; with None for both, that it is to be judged.

    A batch that somebody else has locked at the moment keeps what it has: it is judged again.
    """
    free = sa.select(Batch.id).where(Batch.id == batch_id).with_for_update(skip_locked=True)
    session.execute(
        sa.update(Batch)
        .where(Batch.id.in_(free))
        .values(verdict=verdict, verdict_key=key)
        .execution_options(synchronize_session=False)
    )


def forget_all(session: Session) -> None:
    """Have every batch of the project judged anew; a filter by verdict finds none until then."""
    session.execute(
        sa.update(Batch)
        .where(Batch.project_id == project_of(session), Batch.verdict_key.is_not(None))
        .values(verdict=None, verdict_key=None)
        .execution_options(synchronize_session=False)
    )


def without(session: Session, limit: int) -> Sequence[Batch]:
    """The newest batches that are over and have never been judged; of every project."""
    query = (
        sa.select(Batch)
        .where(Batch.state.in_(BATCH_FINAL_STATES), Batch.verdict_key.is_(None))
        .order_by(Batch.id.desc())
        .limit(limit)
    )
    return session.scalars(query).all()


def audit_counts(session: Session, batch_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many audits of each batch's traces the project has got: they bear on verdicts."""
    if not batch_ids:
        return {}
    query = (
        sa.select(BatchTrace.batch_id, sa.func.count())
        .join(Question, Question.trace_id == BatchTrace.trace_id)
        .where(
            among(BatchTrace.batch_id, batch_ids),
            Question.kind == "audit",
            Question.state == "done",
        )
        .group_by(BatchTrace.batch_id)
    )
    return {row[0]: int(row[1]) for row in session.execute(query)}

"""Questions as work, in a queue of :mod:`db.leased`: claimed one by one, answered by documents."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection
from typing import Any

import msgpack
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from db import leased
from db.leased import DONE, FAILED, RowFence
from db.models import Document, Project, Question, Trace
from db.repositories import documents
from db.shards.messages import Message, QuestionMessage
from refault.documents import DocumentKey

LOOKS = ("divergence", "inspection")
KEPT_DAYS = 30
"""How long a look is kept. Asking again answers it again."""

# Somebody waits for a look; audits come by the batch.
QUEUE = leased.Queue(
    Question,
    lambda question: QuestionMessage(question.id),
    rank=sa.case((Question.kind.in_(LOOKS), 0), else_=1),
)


@dataclasses.dataclass(frozen=True)
class QuestionClaim:
    """What a worker holds: a question, and the trace it is about.

    ``is_answered``: this project has the answer already.
    """

    fence: RowFence
    asked: dict[str, Any]
    document_digest: str
    trace_digest: str
    project_id: uuid.UUID
    is_answered: bool
    # The project's own time limit, if it has one.
    shard_seconds: int | None


def claim(
    session: Session,
    *,
    engines: Collection[str],
    worker: str,
    worker_pid: int,
    lease_seconds: float,
) -> QuestionClaim | None:
    """Take a queued question: of the project with the fewest running, the oldest.

    Only one of these ``engines``: a worker that was not told to runs no user's code.
    """
    offered = sa.literal(sorted(engines), JSONB)
    row = QUEUE.oldest(session, Question.asked["engines"].contained_by(offered))
    if row is None:
        return None
    QUEUE.take(session, [row], worker=worker, worker_pid=worker_pid, lease_seconds=lease_seconds)
    project = session.get_one(Project, row.project_id)
    return QuestionClaim(
        fence=RowFence(row.id, row.attempt),
        asked=row.asked,
        document_digest=row.document_digest,
        trace_digest=row.trace.digest,
        project_id=row.project_id,
        is_answered=documents.maker(session, row.document_digest) == row.project_id,
        shard_seconds=project.shard_seconds,
    )


def finish(
    session: Session, fence: RowFence, answer: tuple[DocumentKey, bytes] | None = None
) -> bool:
    """Record an answer (None: it is there already); False if the fence is lost.

    The document is of the key that the worker's engines make. Where that is not the one that was
    asked for, the engines have changed since, and the question follows.
    """
    row = QUEUE.held(session, fence)
    if row is None:
        return False
    if answer is not None:
        key, _ = answer
        documents.write(session, [answer], project_id=row.project_id)
        _follow(session, row, key.digest)
    row.state, row.lease_until, row.error = DONE, None, None
    row.units_done = row.units_total
    row.finished_at = sa.func.clock_timestamp()
    if row.kind == "verification":
        _tell_trace(session, row)
    session.flush()
    return True


def _tell_trace(session: Session, row: Question) -> None:
    """What a verification came to stands on its trace, for lists and comparisons.

    The question is locked before its trace, as where both are deleted (``trace_deletion``).
    """
    body = documents.body_of(session, row.document_digest)
    if body is None:
        return
    told = msgpack.unpackb(body)["answer"]
    shown = {name: told[name] for name in ("is_good", "complaint", "share", "asked", "agreed")}
    # Answers of verifier 1 have none.
    working_set = told.get("working_set")
    session.execute(
        sa.update(Trace)
        .where(Trace.id == row.trace_id)
        .values(
            statistics=Trace.statistics.concat({"verification": shown, "working_set": working_set})
        )
    )


def _follow(session: Session, row: Question, digest: str) -> None:
    """Let a question be of another version's document; the one that is already goes."""
    if row.document_digest == digest:
        return
    session.execute(
        sa.delete(Question).where(
            Question.project_id == row.project_id, Question.document_digest == digest
        )
    )
    row.document_digest = digest


def fail(session: Session, fence: RowFence, error: str) -> bool:
    """End a question that no attempt can answer; False if the fence is lost."""
    row = QUEUE.held(session, fence)
    if row is None:
        return False
    row.state, row.lease_until, row.error = FAILED, None, error
    row.finished_at = sa.func.clock_timestamp()
    session.flush()
    return True


def take_from_lost(session: Session, fence: RowFence) -> Message | None:
    """Give an abandoned question back, if it is still abandoned now that it is locked."""
    row = QUEUE.held(session, fence)
    if row is None or not QUEUE.is_lost(session, row):
        return None
    error = f"worker {row.worker} was not heard of any more"
    in_order = leased.is_in_order(session, row)
    return QUEUE.requeue(session, row, error, not in_order)


def forget(session: Session, *, days: int = KEPT_DAYS, limit: int = 500) -> int:
    """Delete looks (divergences, inspections) that ended so long ago, with their documents.

    Audits stay beside the results they explain. Answers how many questions went.
    """
    age = sa.func.make_interval(0, 0, 0, days)
    old = (
        sa.select(Question.id)
        .where(
            Question.kind.in_(LOOKS),
            Question.state.in_((DONE, FAILED)),
            Question.finished_at < sa.func.now() - age,
        )
        .order_by(Question.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = session.scalars(
        sa.delete(Question).where(Question.id.in_(old)).returning(Question.document_digest)
    ).all()
    if gone:
        is_asked = sa.exists().where(Question.document_digest == Document.digest)
        session.execute(sa.delete(Document).where(Document.digest.in_(gone), ~is_asked))
    return len(gone)

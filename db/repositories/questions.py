"""Questions of a project: asked once each, listed, and asked anew where an attempt failed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.errors import QuotaExceeded
from db.identifiers import uuid7
from db.models import Question, Trace
from db.repositories.pagination import Page, newest_first
from db.repositories.patch_sets import add_variant
from db.scope import maker_of, project_of
from refault import catalogue, questions
from refault.errors import NotFound

OPEN_MAX = {"audit": 10_000, "divergence": 1_000, "inspection": 1_000, "verification": 10_000}
"""Questions of a project that may wait or be answered at one time, by kind: batches ask audits, and
uploads verifications."""

_OPEN = ("queued", "running")


def ask(
    session: Session,
    question: questions.Question,
    trace: Trace,
    variants: Sequence[catalogue.Variant],
    simulators: Sequence[str],
) -> tuple[Question, bool]:
    """The row of a question of a trace, and whether it is new to this project.

    ``simulators`` are the digests of the variants' engines. One that failed waits again.

    Raises:
        InvalidParameter: it is asked of another number of variants.
        QuotaExceeded: too many of the project wait already.
    """
    columns = [
        questions.Column(variant.digest, simulator)
        for variant, simulator in zip(variants, simulators, strict=True)
    ]
    key = question.key(trace.digest, columns)
    known = _of_key(session, key.digest)
    if known is None:
        _check_room(session, question.kind, 1)
        for variant in variants:
            add_variant(session, variant)
        # Two callers may ask the same at one time: one of them makes the row.
        made = session.scalar(
            insert(Question)
            .values(
                **_values(session, question, trace, variants, key.digest),
                published_at=sa.func.now(),
            )
            .on_conflict_do_nothing(index_elements=[Question.project_id, Question.document_digest])
            .returning(Question.id)
        )
        row = _of_key(session, key.digest)
        if row is None:
            raise NotFound("the question was deleted with its trace; ask it again")
        return row, made is not None
    if known.state == "failed":
        known.state, known.error, known.published_at = "queued", None, None
        known.lost_count, known.finished_at = 0, None
        known.attempt += 1
        session.flush()
    return known, False


def ask_all(
    session: Session,
    question: questions.Question,
    cells: Sequence[tuple[Trace, catalogue.Variant, str]],
) -> list[uuid.UUID]:
    """Ask one question of many runs, each a trace, a variant and its simulator.

    Answers the rows that are new to the project. The variants have rows already.

    Raises:
        QuotaExceeded: too many of the project wait already.
    """
    keys = [
        question.key(trace.digest, [questions.Column(variant.digest, simulator)]).digest
        for trace, variant, simulator in cells
    ]
    values = [
        _values(session, question, trace, [variant], key)
        for (trace, variant, _), key in zip(cells, keys, strict=True)
    ]
    if not values:
        return []
    _check_room(session, question.kind, len(values))
    made = session.scalars(
        insert(Question)
        .values(published_at=sa.func.now())
        .on_conflict_do_nothing(index_elements=[Question.project_id, Question.document_digest])
        .returning(Question.id),
        values,
    )
    return list(made)


def _values(
    session: Session,
    question: questions.Question,
    trace: Trace,
    variants: Sequence[catalogue.Variant],
    document_digest: str,
) -> dict[str, Any]:
    asked = {
        "question": question.to_dict(),
        "variants": [variant.digest for variant in variants],
        "engines": sorted({variant.engine for variant in variants}),
    }
    return {
        "id": uuid7(),
        "project_id": project_of(session),
        "kind": question.kind,
        "trace_id": trace.id,
        "asked": asked,
        "document_digest": document_digest,
        "state": "queued",
        "attempt": 1,
        "lost_count": 0,
        **maker_of(session)._asdict(),
    }


def _check_room(session: Session, kind: str, more: int) -> None:
    count = session.scalar(
        sa.select(sa.func.count())
        .select_from(Question)
        .where(Question.state.in_(_OPEN), Question.kind == kind)
    )
    if (count or 0) + more > OPEN_MAX[kind]:
        raise QuotaExceeded(
            f"{count} questions of this kind wait in this project, and it may have "
            f"{OPEN_MAX[kind]}: wait for some"
        )


def _of_key(session: Session, document_digest: str) -> Question | None:
    return session.scalars(
        sa.select(Question).where(Question.document_digest == document_digest)
    ).one_or_none()


def get(session: Session, row_id: uuid.UUID) -> Question:
    """The question of that id; raises :class:`~refault.errors.NotFound`."""
    found = session.scalars(sa.select(Question).where(Question.id == row_id)).one_or_none()
    if found is None:
        raise NotFound(f"no question {row_id}")
    return found


def list_page(
    session: Session,
    *,
    kind: str | None = None,
    trace: Trace | None = None,
    after: uuid.UUID | None,
    limit: int,
) -> Page[Question]:
    """The project's questions, newest first.

    Verifications, one for each upload, are listed only where their kind or a trace is asked for.
    """
    query = sa.select(Question)
    if kind is not None:
        query = query.where(Question.kind == kind)
    elif trace is None:
        query = query.where(Question.kind != "verification")
    if trace is not None:
        query = query.where(Question.trace_id == trace.id)
    return newest_first(session, query, Question.id, after=after, limit=limit)

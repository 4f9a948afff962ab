"""Requests with an ``Idempotency-Key``: claimed, then answered or released.

::

    claim ──► Claim ──► the work ──┬── done ────► answer    for a day, claim gives that Answer
                                   └── refused ─► release   the key is unused again
"""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.errors import RequestUnderWay
from db.models import IdempotencyKey
from db.scope import project_of

KEPT_SECONDS = 24 * 3600
"""How long an answer is repeated."""

ABANDONED_SECONDS = 3600
"""A claim without an answer for this time is of a server that died, and may be taken over.

Longer than any upload takes; if one does take longer, the work is done twice, which every POST
bears: it finds by content what is there.
"""


@dataclasses.dataclass(frozen=True)
class Claim:
    """The right to answer a request; void once another request has taken it over."""

    project_id: uuid.UUID
    key: str
    route: str
    claimed_at: datetime.datetime


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a request was and what it was answered with."""

    request_digest: str
    status: int
    response: dict[str, Any]


def claim(session: Session, key: str, route: str) -> Claim | Answer:
    """Claim a key for a request on ``route``; or the answer it already has.

    Raises:
        RequestUnderWay: a request with this key is being answered.
    """
    _forget(session)
    project_id = project_of(session)
    claimed_at = session.scalar(
        insert(IdempotencyKey)
        .values(project_id=project_id, key=key, route=route)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.created_at)
    )
    if claimed_at is not None:
        return Claim(project_id, key, route, claimed_at)
    row = session.get(IdempotencyKey, (project_id, key, route))
    if row is None or row.request_digest is None or row.status is None or row.response is None:
        raise RequestUnderWay(
            f"a request with Idempotency-Key {key!r} is being answered: "
            "send it again when that one has its answer"
        )
    return Answer(row.request_digest, row.status, row.response)


def answer(session: Session, claim: Claim, given: Answer) -> None:
    """Store the answer of a claimed request."""
    session.execute(
        sa.update(IdempotencyKey)
        .where(*_is(claim))
        .values(request_digest=given.request_digest, status=given.status, response=given.response)
    )


def release(session: Session, claim: Claim) -> None:
    """Give up a claim: nothing was done under it."""
    session.execute(sa.delete(IdempotencyKey).where(*_is(claim)))


def _is(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        IdempotencyKey.project_id == claim.project_id,
        IdempotencyKey.key == claim.key,
        IdempotencyKey.route == claim.route,
        IdempotencyKey.created_at == claim.claimed_at,
        IdempotencyKey.status.is_(None),
    )


def _forget(session: Session) -> None:
    """Delete rows that are too old, of any caller: there is no other housekeeping."""
    age = sa.func.now() - IdempotencyKey.created_at
    limit = sa.case(
        (IdempotencyKey.status.is_(None), _seconds(ABANDONED_SECONDS)), else_=_seconds(KEPT_SECONDS)
    )
    session.execute(sa.delete(IdempotencyKey).where(age > limit))


def _seconds(count: int) -> sa.ColumnElement[datetime.timedelta]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, count)

"""Webhooks, and the messages that wait for them.

::

    a batch ends, an alarm is raised ──► announce, in the same transaction ──► a row per webhook
                                                                                   │
    worker.upkeep: take_due (counts the attempt, advances next_at, commits) ──► sends
                                                                      ──► arrived / failed
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import secrets
import uuid
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.identifiers import uuid7
from db.models import Batch, Webhook, WebhookDelivery
from db.repositories.pagination import PAGE_SIZE, Page, newest_first
from refault.errors import NotFound

WEBHOOKS_MAX = 20
"""Per project: each of them costs a connection per event."""

ATTEMPTS_MAX = 12
"""About a day from the first to the last; then a message is given up."""

BACKOFF_SECONDS = 10
BACKOFF_MAX_SECONDS = 6 * 3600
TAKEN_SECONDS = 120
"""After this time a taken message is due again, as its sender may have died."""

WAITING_MAX = 1000
"""Per webhook: a receiver that is unreachable for long gets no further messages."""

# So many senders may take at the same time, each the next message.
_SENDERS_MAX = 16

KEPT_SECONDS = 30 * 24 * 3600
"""How long the row of a message that was delivered or given up is kept."""


@dataclasses.dataclass(frozen=True)
class Due:
    """A message to send now."""

    delivery_id: uuid.UUID
    project_id: uuid.UUID
    attempt: int
    url: str
    secret: str
    event: str
    body: str


def add(session: Session, url: str, events: Sequence[str]) -> Webhook:
    """Register a webhook with a new secret; :class:`Conflict` if the project has too many."""
    if (session.scalar(sa.select(sa.func.count(Webhook.id))) or 0) >= WEBHOOKS_MAX:
        raise Conflict(f"a project has at most {WEBHOOKS_MAX} webhooks: delete one first")
    row = Webhook(
        id=uuid7(),
        url=url,
        events=sorted(set(events)),
        secret=f"whsec_{secrets.token_urlsafe(32)}",
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, row_id: uuid.UUID) -> Webhook:
    """The webhook of that id; raises :class:`~refault.errors.NotFound`."""
    found = session.scalars(sa.select(Webhook).where(Webhook.id == row_id)).one_or_none()
    if found is None:
        raise NotFound(f"no webhook {row_id}: GET /api/v1/webhooks lists them")
    return found


def list_page(
    session: Session, *, after: uuid.UUID | None = None, limit: int = PAGE_SIZE
) -> Page[Webhook]:
    """Webhooks, newest first."""
    return newest_first(session, sa.select(Webhook), Webhook.id, after=after, limit=limit)


def deliveries(session: Session, webhook: Webhook, limit: int = 20) -> Sequence[WebhookDelivery]:
    """The webhook's latest messages, newest first."""
    query = (
        sa.select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook.id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit)
    )
    return session.scalars(query).all()


def delete(session: Session, webhook: Webhook) -> None:
    """Remove a webhook and every message that waits for it."""
    session.delete(webhook)
    session.flush()


def announce(session: Session, event: str, batch: Batch, **detail: Any) -> int:
    """Queue a message for every webhook of the batch's project that wants it; answers how many.

    In the transaction that makes it true, so that nothing is announced if it is rolled back. A
    webhook with :data:`WAITING_MAX` waiting messages gets no more.
    """
    waiting = sa.select(WebhookDelivery.id).where(
        WebhookDelivery.webhook_id == Webhook.id, WebhookDelivery.state == "waiting"
    )
    is_full = sa.exists(waiting.offset(WAITING_MAX - 1).correlate(Webhook))
    query = sa.select(Webhook).where(
        Webhook.project_id == batch.project_id, Webhook.events.contains([event]), ~is_full
    )
    webhooks = session.scalars(query).all()
    now = session.scalar(sa.select(sa.func.clock_timestamp())) if webhooks else None
    for webhook in webhooks:
        row_id = uuid7()
        body = {
            "id": str(row_id),
            "event": event,
            "at": now.astimezone(datetime.UTC).isoformat() if now else None,
            "batch": {
                "id": str(batch.id),
                "code": batch.code,
                "state": batch.state,
                "run_count": batch.run_count,
                "done_count": batch.done_count,
                "failed_count": batch.failed_count,
                "cancelled_count": batch.cancelled_count,
                "url": f"/api/v1/batches/{batch.code}",
            },
            **detail,
        }
        session.add(
            WebhookDelivery(
                id=row_id,
                webhook_id=webhook.id,
                event=event,
                body=json.dumps(body, separators=(",", ":")),
                state="waiting",
                attempt_count=0,
            )
        )
    session.flush()
    return len(webhooks)


def take_due(
    session: Session, *, limit: int = 1, busy_projects: Collection[uuid.UUID] = ()
) -> list[Due]:
    """Messages that are due, each taken by one sender; commit before sending.

    Round-robin over projects, and over the webhooks of each: the one served longest ago is next, so
    that a thousand messages of one delay another's by one. ``busy_projects`` have to wait.

    The attempt is counted here. A sender that then dies costs a delay of :data:`TAKEN_SECONDS`,
    and perhaps a second copy under the same id; after the last attempt, the message is given up.
    """
    taken: list[Due] = []
    while len(taken) < limit and (row := _next_due(session, busy_projects)) is not None:
        hook = row.webhook
        if row.attempt_count >= ATTEMPTS_MAX:
            row.state, row.next_at, row.ended_at = "given_up", None, sa.func.clock_timestamp()
            row.last_error = "the last attempt killed its sender"
            session.flush()
            continue
        row.attempt_count += 1
        row.next_at = sa.func.clock_timestamp() + _seconds(TAKEN_SECONDS)
        hook.taken_at = sa.func.clock_timestamp()
        session.flush()
        taken.append(
            Due(
                row.id, hook.project_id, row.attempt_count, hook.url, hook.secret, row.event,
                row.body,
            )
        )  # fmt: skip
    return taken


def _next_due(session: Session, busy_projects: Collection[uuid.UUID]) -> WebhookDelivery | None:
    """The message whose turn it is, locked."""
    is_due = (WebhookDelivery.state == "waiting", WebhookDelivery.next_at <= sa.func.now())
    first = (
        sa.select(WebhookDelivery.id)
        .where(WebhookDelivery.webhook_id == Webhook.id, *is_due)
        .order_by(WebhookDelivery.next_at)
        .limit(1)
        .lateral()
    )
    served = (
        sa.select(Webhook.project_id, sa.func.max(Webhook.taken_at).label("at"))
        .group_by(Webhook.project_id)
        .subquery()
    )
    turns = (
        sa.select(first.c.id)
        .select_from(Webhook)
        .join(served, served.c.project_id == Webhook.project_id)
        .join(first, sa.true())
        .where(Webhook.project_id.not_in(busy_projects))
        .order_by(served.c.at.nulls_first(), Webhook.taken_at.nulls_first(), Webhook.id)
        .limit(_SENDERS_MAX)
    )
    for row_id in session.scalars(turns).all():
        query = sa.select(WebhookDelivery).where(WebhookDelivery.id == row_id, *is_due)
        # Another sender may have taken it by now.
        query = query.with_for_update(of=WebhookDelivery, skip_locked=True)
        row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        if row is not None:
            return row
    return None


def arrived(session: Session, due: Due, status: int) -> None:
    """Record that the receiver has the message."""
    _end(session, due, state="delivered", last_status=status, last_error=None)


def failed(
    session: Session, due: Due, error: str, *, status: int | None = None, is_final: bool = False
) -> None:
    """Record that the attempt failed; the next ones are increasingly later, until the last.

    ``is_final``: a later attempt cannot succeed.
    """
    if is_final or due.attempt >= ATTEMPTS_MAX:
        _end(session, due, state="given_up", last_status=status, last_error=error)
        return
    pause = min(BACKOFF_SECONDS * 3 ** (due.attempt - 1), BACKOFF_MAX_SECONDS)
    session.execute(
        _taken(due).values(
            next_at=sa.func.clock_timestamp() + _seconds(pause),
            last_status=status,
            last_error=error,
        )
    )


def forget_old(session: Session) -> int:
    """Delete rows of messages that ended long ago; answers how many."""
    rows = session.scalars(
        sa.delete(WebhookDelivery)
        .where(WebhookDelivery.ended_at < sa.func.now() - _seconds(KEPT_SECONDS))
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(rows)


def _end(session: Session, due: Due, **values: Any) -> None:
    session.execute(_taken(due).values(next_at=None, ended_at=sa.func.clock_timestamp(), **values))


def _taken(due: Due) -> sa.Update:
    """The message, if this sender was the last to take it: only that one may end it."""
    return (
        sa.update(WebhookDelivery)
        .where(
            WebhookDelivery.id == due.delivery_id,
            WebhookDelivery.attempt_count == due.attempt,
            WebhookDelivery.state == "waiting",
        )
        .execution_options(synchronize_session=False)
    )


def _seconds(count: float) -> sa.ColumnElement[datetime.timedelta]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, count, type_=sa.Interval)

"""Tallies and webhooks."""

import datetime
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, CreatedAt, RowId, one_of
from db.models.projects import Owned

DELIVERY_STATES = ("waiting", "delivered", "given_up")


class Tally(Base):
    """A monotonic counter shared by all processes."""

    __tablename__ = "tallies"
    __table_args__ = (sa.CheckConstraint("value >= 0", name="grows"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


class Webhook(Owned, Base):
    """An address for a project's events, and the secret that signs its messages."""

    __tablename__ = "webhooks"

    id: Mapped[RowId]
    url: Mapped[str]
    events: Mapped[list[str]]
    # In plain text: signing needs the secret itself, not its hash.
    secret: Mapped[str]
    # When one of its messages was last taken: the round-robin of projects and webhooks uses it.
    taken_at: Mapped[datetime.datetime | None]
    created_at: Mapped[CreatedAt]


class WebhookDelivery(Base):
    """One message for one webhook, until it is delivered or given up.

    ``waiting`` with a ``next_at`` in the past is due. A sender that takes one
    moves ``next_at`` on first, so that a sender that dies costs a delay.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        one_of("state", DELIVERY_STATES, "state_known"),
        sa.CheckConstraint("(state = 'waiting') = (next_at IS NOT NULL)", name="waiting_has_time"),
        sa.CheckConstraint("attempt_count >= 0", name="attempts"),
        sa.Index("ix_webhook_deliveries_next_at", "next_at"),
        sa.Index(
            "ix_webhook_deliveries_waiting",
            "webhook_id",
            "next_at",
            postgresql_where=sa.text("state = 'waiting'"),
        ),
    )

    id: Mapped[RowId]
    webhook_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("webhooks.id", ondelete="CASCADE"), index=True
    )
    event: Mapped[str]
    # The exact text that is sent, which the signature covers.
    body: Mapped[str]
    state: Mapped[str] = mapped_column(default="waiting")
    attempt_count: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime.datetime | None] = mapped_column(server_default=sa.func.now())
    # Of the last attempt: the receiver's status, or the error.
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime.datetime | None]

    webhook: Mapped[Webhook] = relationship(lazy="joined")

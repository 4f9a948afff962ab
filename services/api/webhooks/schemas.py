"""Webhooks as JSON."""

import uuid
from typing import Literal, get_args

from pydantic import Field

from services.api.schemas import Body, Document, Time

Event = Literal["batch.finished", "batch.failed", "integrity.alarm"]


class WebhookBody(Body):
    """A webhook to create."""

    url: str = Field(
        min_length=1,
        max_length=2000,
        description="https:// or http:// and a public host",
        examples=["https://ci.example.org/hooks/refault"],
    )
    events: list[Event] = Field(
        list(get_args(Event)),
        min_length=1,
        max_length=3,
        description="Events to send; default: all",
    )


class WebhookSummary(Document):
    """A webhook, without its secret."""

    id: uuid.UUID
    url: str
    events: list[Event]
    created_at: Time


class WebhookCreated(WebhookSummary):
    """A new webhook."""

    secret: str = Field(description="Signs its messages; shown this once")


class Delivery(Document):
    """A message and its state."""

    id: uuid.UUID = Field(description="X-Refault-Delivery of every attempt")
    event: Event
    state: Literal["waiting", "delivered", "given_up"]
    attempt_count: int
    next_at: Time | None
    last_status: int | None = Field(description="The receiver's last answer")
    last_error: str | None
    created_at: Time
    ended_at: Time | None


class WebhookDetail(WebhookSummary):
    """A webhook with its latest messages."""

    deliveries: list[Delivery]

"""The endpoints under ``/api/v1/webhooks``."""

import uuid

from fastapi import APIRouter, Response

from db.repositories import webhooks
from services.api.deps import WithPage, WithResources
from services.api.errors import pointing_at
from services.api.responses import problems
from services.api.schemas import Page
from services.api.webhooks.schemas import (
    Delivery,
    WebhookBody,
    WebhookCreated,
    WebhookDetail,
    WebhookSummary,
)
from services.shared import outbound

router = APIRouter(tags=["webhooks"])


@router.post("/webhooks", status_code=201, responses=problems(409, 422))
def create_webhook(
    response: Response, resources: WithResources, body: WebhookBody
) -> WebhookCreated:
    """Register an address for messages when a batch ends or an integrity alarm is raised.

    Messages are signed; docs/howto/operate.md says how to check the signature.
    The secret is in this answer only.
    """
    allowed = outbound.parse_networks(resources.settings.webhook_networks)
    with pointing_at("/url"):
        outbound.check_literal(outbound.parse_url(body.url), allowed)
    with resources.transaction() as session:
        created = WebhookCreated.model_validate(webhooks.add(session, body.url, body.events))
    response.headers["location"] = f"/api/v1/webhooks/{created.id}"
    response.headers["cache-control"] = "no-store"
    return created


@router.get("/webhooks", responses=problems(422))
def list_webhooks(resources: WithResources, page: WithPage) -> Page[WebhookSummary]:
    """List webhooks, newest first."""
    with resources.transaction() as session:
        found = webhooks.list_page(session, after=page.cursor, limit=page.limit)
        items = [WebhookSummary.model_validate(row) for row in found.rows]
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))


@router.get("/webhooks/{webhook_id}", responses=problems(404, 422))
def get_webhook(resources: WithResources, webhook_id: uuid.UUID) -> WebhookDetail:
    """Get a webhook with its latest messages and their state."""
    with resources.transaction() as session:
        row = webhooks.get(session, webhook_id)
        sent = [Delivery.model_validate(entry) for entry in webhooks.deliveries(session, row)]
        summary = WebhookSummary.model_validate(row)
    return WebhookDetail(**summary.model_dump(), deliveries=sent)


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=problems(404, 422))
def delete_webhook(resources: WithResources, webhook_id: uuid.UUID) -> None:
    """Delete a webhook and its queued messages."""
    with resources.transaction() as session:
        webhooks.delete(session, webhooks.get(session, webhook_id))

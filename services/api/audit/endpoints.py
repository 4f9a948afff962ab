"""The endpoint ``/api/v1/audit``."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query

from db.repositories import audit
from services.api.deps import WithPage, WithResources
from services.api.responses import problems
from services.api.schemas import Document, Page, Time

router = APIRouter(tags=["audit"])


class AuditEntry(Document):
    """One action of a caller."""

    id: uuid.UUID
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    address: str | None
    created_at: Time


@router.get("/audit", responses=problems(401, 403, 422))
def list_audit(
    resources: WithResources,
    page: WithPage,
    actor: Annotated[str, Query(max_length=100, description="Only whose name begins so")] = "",
    action: Annotated[str, Query(max_length=100, description="Only what begins so")] = "",
) -> Page[AuditEntry]:
    """List who did what in this project, newest first; for maintainers."""
    with resources.transaction() as session:
        found = audit.list_page(
            session, actor=actor, action=action, after=page.cursor, limit=page.limit
        )
        items = [AuditEntry.model_validate(row) for row in found.rows]
    return Page(items=items, next_cursor=found.next_cursor and str(found.next_cursor))

"""The audit log: who did what, append-only, read by the maintainers of a project."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import secrets
from db.identifiers import uuid7
from db.models import AuditEntry
from db.repositories.pagination import PAGE_SIZE, Page, newest_first
from db.scope import project_of


def note(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str = "",
    project_id: uuid.UUID | None = None,
    address: str | None = None,
    **detail: Any,
) -> None:
    """Append that ``actor`` did ``action``; permanent once the transaction commits."""
    session.add(
        AuditEntry(
            id=uuid7(),
            project_id=project_id,
            actor=actor,
            action=action,
            subject=secrets.hidden(subject),
            detail={
                name: secrets.hidden(value) if isinstance(value, str) else value
                for name, value in detail.items()
            },
            address=address,
        )
    )


def list_page(
    session: Session,
    *,
    actor: str = "",
    action: str = "",
    after: uuid.UUID | None = None,
    limit: int = PAGE_SIZE,
) -> Page[AuditEntry]:
    """The entries of the session's project whose actor and action begin so, newest first."""
    query = sa.select(AuditEntry).where(
        AuditEntry.project_id == project_of(session),
        AuditEntry.actor.startswith(actor, autoescape=True),
        AuditEntry.action.startswith(action, autoescape=True),
    )
    return newest_first(session, query, AuditEntry.id, after=after, limit=limit)

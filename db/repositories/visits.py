"""When users last looked at a project, for what is new to them."""

from __future__ import annotations

import datetime
import uuid

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import Visit
from db.scope import project_of

VISIT = datetime.timedelta(minutes=30)
"""After so long without a page a visit is over, and the next page begins another."""
NOTED = datetime.timedelta(minutes=5)
"""A visit is written down no more often: pages poll."""


def since(session: Session, user_id: uuid.UUID) -> datetime.datetime | None:
    """The end of the user's last visit to the session's project; None at the first.

    Notes that the user is here now, at most every five minutes.
    """
    project_id = project_of(session)
    now = session.scalars(sa.select(sa.func.now())).one()
    found = session.get(Visit, (project_id, user_id))
    if found is None:
        first = insert(Visit).values(project_id=project_id, user_id=user_id, last_at=now)
        session.execute(first.on_conflict_do_nothing())
        return None
    away = now - found.last_at
    if away > VISIT:
        found.since = found.last_at
    if away > NOTED:
        found.last_at = now
    return found.since

"""The limits of a project, as the comparison takes them."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import CounterLimit
from db.scope import project_of


def limits(session: Session) -> dict[str, CounterLimit]:
    """The limits of the session's project, by counter."""
    query = sa.select(CounterLimit).order_by(CounterLimit.counter)
    return {row.counter: row for row in session.scalars(query)}


def replace(session: Session, wanted: Mapping[str, tuple[int | None, int | None]]) -> None:
    """Replace all limits of the project by these: (permille, absolute) by counter."""
    project_id = project_of(session)
    # Serialised, so that two concurrent calls do not leave a mixture.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(project_id.int & ((1 << 63) - 1))))
    session.execute(sa.delete(CounterLimit).where(CounterLimit.project_id == project_id))
    session.add_all(
        CounterLimit(counter=counter, permille=permille, absolute=absolute)
        for counter, (permille, absolute) in wanted.items()
    )
    session.flush()

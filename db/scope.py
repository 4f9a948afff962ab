"""A session of a project: rows of other projects do not exist for it.

``transaction(engine, project_id)`` opens one. Every statement it executes, whatever wrote it,
is limited to the project's rows of each :class:`~db.models.projects.Owned` table, and new rows of
those tables get the project, and their maker if the table has one. So a query without a condition
on the project is as safe as one with it. A session without a project sees everything: for workers
and upkeep, never for the API on behalf of a caller.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction, with_loader_criteria

from db.models.projects import Made, Owned

_PROJECT = "project_id"
_MAKER = "maker"
EVERYWHERE = {"everywhere": True}
"""Execution options of a statement that must see all projects: is a name or a file in use?"""


def enter(session: Session, project_id: uuid.UUID) -> None:
    """Make it a session of this project, permanently."""
    session.info[_PROJECT] = project_id


class Maker(NamedTuple):
    """On whose behalf rows are made: a user, a token, or a token of a user."""

    user_id: uuid.UUID | None = None
    token_id: uuid.UUID | None = None


NOBODY = Maker()
"""No known maker."""


def sign(session: Session, maker: Maker) -> None:
    """From now on, give new rows of the session this maker."""
    session.info[_MAKER] = maker


def maker_of(session: Session) -> Maker:
    """The maker of the session's new rows; NOBODY unless it was signed."""
    found = session.info.get(_MAKER)
    return found if isinstance(found, Maker) else NOBODY


def project_of(session: Session) -> uuid.UUID:
    """The project of the session; a RuntimeError if it has none."""
    found = session.info.get(_PROJECT)
    if not isinstance(found, uuid.UUID):
        raise RuntimeError("this session has no project: open it with one")  # noqa: TRY004
    return found


@event.listens_for(Session, "do_orm_execute")
def _limit(state: ORMExecuteState) -> None:
    project_id = state.session.info.get(_PROJECT)
    if project_id is None or state.execution_options.get("everywhere"):
        return
    # Loads of columns and relationships start from a row that was already visible.
    if state.is_column_load or state.is_relationship_load:
        return
    state.statement = state.statement.options(
        with_loader_criteria(
            Owned,
            lambda cls: cls.project_id == project_id,
            include_aliases=True,
            propagate_to_loaders=False,
        )
    )


@event.listens_for(Session, "before_flush")
def _give(session: Session, context: UOWTransaction, instances: Any) -> None:
    del context, instances
    for row in session.new:
        if isinstance(row, Owned) and row.project_id is None:
            row.project_id = project_of(session)
        if isinstance(row, Made) and row.user_id is None and row.token_id is None:
            row.user_id, row.token_id = maker_of(session)

"""The only place that commits.

::

    engine = create_engine(url)
    with transaction(engine) as session:
        traces.get(session, name)
    # committed here; an exception inside the block rolls everything back
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db import scope
from refault.errors import Unavailable

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

# A statement or a lock that takes longer than this is a defect, not patience.
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_SECONDS = 5


def create_engine(url: str, *, pool_size: int = 5) -> sa.Engine:
    """A pool of connections to Postgres; ``url`` is ``postgresql://user:password@host:port/name``.

    Every connection speaks UTC and gives up on slow statements and locks.
    """
    target = sa.make_url(url).set(drivername="postgresql+psycopg")
    return sa.create_engine(
        target,
        pool_size=pool_size,
        max_overflow=pool_size * 2,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "refault",
            "options": (
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS}"
                f" -c lock_timeout={LOCK_TIMEOUT_MS}"
                " -c idle_in_transaction_session_timeout=60000"
                " -c timezone=UTC"
            ),
        },
    )


@contextlib.contextmanager
def transaction(engine: sa.Engine, project_id: uuid.UUID | None = None) -> Iterator[Session]:
    """One transaction: commits when the block ends, rolls back when it raises.

    With a project nothing of another one is seen (``db/scope.py``); without, everything is.

    Rows stay readable after the commit (nothing is expired), but lazy loading
    then fails, so read what you need inside the block.

    Raises :class:`~refault.errors.Unavailable` when the database cannot be reached.
    """
    session = Session(engine, expire_on_commit=False)
    if project_id is not None:
        scope.enter(session, project_id)
    try:
        yield session
        session.commit()
    except sa.exc.OperationalError as error:
        session.rollback()
        if error.connection_invalidated or "connection" in str(error.orig).lower():
            message = f"the database at {_place(engine)} cannot be reached: {_reason(error)}"
            raise Unavailable(message) from error
        raise
    except BaseException:
        session.rollback()
        raise
    finally:
        session.close()


def _place(engine: sa.Engine) -> str:
    return f"{engine.url.host}:{engine.url.port}"


def _reason(error: sa.exc.OperationalError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else "no reason given"

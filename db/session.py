"""The only module that commits, and that translates the errors of the driver.

::

    engine = create_engine(url)
    with transaction(engine) as session:
        traces.get(session, name)
    # committed here; an exception inside the block rolls everything back

No exception of the driver leaves: it becomes :class:`~refault.errors.Unavailable`, which is
temporary, or :class:`~db.errors.ServiceFault`, which is not. Both say only the kind of error and
its SQLSTATE; the statement is in the cause, for the log.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session, SessionTransaction

from db import scope
from db.errors import ServiceFault
from refault.errors import Unavailable

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

    from refault.errors import ServiceError

# A statement or a lock that takes longer than this is a defect.
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_SECONDS = 5

_CONNECTIONS = "connections"

_PASSING = {
    "40001": "two transactions could not be serialised",
    "40P01": "two transactions deadlocked",
    "53100": "its disk is full",
    "53200": "it is out of memory",
    "53300": "it has too many connections",
    "55P03": "a lock timed out",
    "57014": "a statement timed out",
    "57P01": "it is shutting down",
    "57P02": "it restarted after another connection crashed",
    "57P03": "it is starting or shutting down",
    "25006": "it is read-only",
    "25P03": "a transaction was idle for too long",
}
_PASSING_CLASSES = {
    "08": "the connection was lost",
    "40": "it rolled the transaction back",
    "53": "it is out of a resource",
    "55": "an object is in use",
    "57": "an operator intervened, or it shut down",
}
_FAULT_CLASSES = {
    "22": "it was given a value out of range",
    "23": "a constraint of its tables was violated",
    "42": "the statement does not match its schema or rights",
    "58": "its system reports an error",
    "XX": "it reports an internal error or damage",
}
"""By SQLSTATE, or by its first two characters if it is not listed."""


def create_engine(url: str, *, pool_size: int = 5) -> sa.Engine:
    """A pool of connections to Postgres; ``url`` is ``postgresql://user:password@host:port/name``.

    Every connection uses UTC and limits the time of statements and locks.
    """
    target = sa.make_url(url).set(drivername="postgresql+psycopg")
    return sa.create_engine(
        target,
        pool_size=pool_size,
        max_overflow=pool_size * 2,
        pool_pre_ping=True,
        # Statements may be logged, their parameters may not.
        hide_parameters=True,
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

    With a project, rows of others are invisible (``db/scope.py``); without, all are visible.

    Rows stay readable after the commit (nothing is expired), but lazy loading
    then fails, so read what you need inside the block.

    Raises:
        Unavailable: the database cannot be reached or is too busy. Before a retry, consider that
            the commit may have been done and only its answer lost.
        ServiceFault: a retry would fail in the same way.
    """
    with translated(engine), _session(engine) as session:
        if project_id is not None:
            scope.enter(session, project_id)
        yield session
        session.commit()


@contextlib.contextmanager
def _session(engine: sa.Engine) -> Iterator[Session]:
    """Closing rolls back whatever was not committed, or else closes the connection.

    Rolling back to a savepoint is a statement and may fail. The connection would then stay in its
    transaction, with its locks, for as long as the exception is referenced.
    """
    session = Session(engine, expire_on_commit=False)
    try:
        with session:
            yield session
    finally:
        for connection in session.info.pop(_CONNECTIONS, ()):
            if not connection.closed:
                connection.invalidate()


@sa.event.listens_for(Session, "after_begin")
def _remember(
    session: Session, _transaction: SessionTransaction, connection: sa.Connection
) -> None:
    session.info.setdefault(_CONNECTIONS, []).append(connection)


@contextlib.contextmanager
def translated(engine: sa.Engine) -> Iterator[None]:
    """For a block that uses the database: translates exceptions of the driver."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
        raise _ours(engine, error) from error


def _ours(engine: sa.Engine, error: sa.exc.SQLAlchemyError | psycopg.Error) -> ServiceError:
    place = f"{engine.url.host}:{engine.url.port}"
    cause: object = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    if state is not None:
        passing = _PASSING.get(state) or _PASSING_CLASSES.get(state[:2])
        if passing is not None:
            return Unavailable(f"the database at {place} is busy: {passing} (SQLSTATE {state})")
        fault = _FAULT_CLASSES.get(state[:2], "it refused a statement")
        return ServiceFault(f"the database at {place}: {fault} (SQLSTATE {state})")
    if isinstance(error, sa.exc.TimeoutError):
        return Unavailable(f"the database at {place} is busy: every connection is in use")
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        # Without an SQLSTATE the connection could not be made, or has ended.
        return Unavailable(f"the database at {place} is unreachable: {_reason(cause)}")
    return ServiceFault(f"the database at {place} was used wrongly: {type(cause).__name__}")


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"

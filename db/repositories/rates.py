"""Rate limits: counts in windows of fixed length, by the database's clock."""

from __future__ import annotations

import math

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import RateWindow

_FORGOTTEN_SECONDS = 24 * 3600


def count(session: Session, key: str, window_seconds: int) -> tuple[int, int]:
    """Count one more; answers the count in this window, and the seconds until it ends.

    A window begins with the first count, not at a full minute, so that how much a caller may do
    does not depend on when they begin.
    """
    now = sa.func.statement_timestamp()
    length = sa.func.make_interval(0, 0, 0, 0, 0, 0, window_seconds)
    statement = insert(RateWindow).values(key=key, started_at=now, done_count=1)
    is_open = RateWindow.started_at > now - length
    done_count, seconds_left = session.execute(
        statement.on_conflict_do_update(
            index_elements=[RateWindow.key],
            set_={
                "started_at": sa.case(
                    (is_open, RateWindow.started_at), else_=statement.excluded.started_at
                ),
                "done_count": sa.case((is_open, RateWindow.done_count + 1), else_=1),
            },
        ).returning(
            RateWindow.done_count,
            sa.func.extract("epoch", RateWindow.started_at + length - now),
        )
    ).one()
    return done_count, max(1, math.ceil(seconds_left))


def standing(session: Session, key: str, window_seconds: int) -> tuple[int, int]:
    """As :func:`count`, but without counting; (0, 0) if no window is open."""
    length = sa.func.make_interval(0, 0, 0, 0, 0, 0, window_seconds)
    now = sa.func.statement_timestamp()
    row = session.execute(
        sa.select(
            RateWindow.done_count,
            sa.func.extract("epoch", RateWindow.started_at + length - now),
        ).where(RateWindow.key == key, RateWindow.started_at > now - length)
    ).one_or_none()
    return (0, 0) if row is None else (row[0], max(1, math.ceil(row[1])))


def forget_old(session: Session) -> None:
    """Delete windows that began long ago."""
    age = sa.func.now() - RateWindow.started_at
    limit = sa.func.make_interval(0, 0, 0, 0, 0, 0, _FORGOTTEN_SECONDS)
    session.execute(sa.delete(RateWindow).where(age > limit))

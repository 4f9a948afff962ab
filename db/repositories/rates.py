"""How often something may be done: counted in windows of fixed length, by the database's clock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import RateWindow

_FORGOTTEN_SECONDS = 24 * 3600


def count(session: Session, key: str, window_seconds: int) -> tuple[int, int]:
    """Counts one more; how many that makes in this window, and seconds until the next one."""
    now = sa.func.extract("epoch", sa.func.statement_timestamp())
    start = sa.func.to_timestamp(sa.func.floor(now / window_seconds) * window_seconds)
    statement = insert(RateWindow).values(key=key, started_at=start, done_count=1)
    is_same = RateWindow.started_at == statement.excluded.started_at
    done_count, left = session.execute(
        statement.on_conflict_do_update(
            index_elements=[RateWindow.key],
            set_={
                "started_at": statement.excluded.started_at,
                "done_count": sa.case((is_same, RateWindow.done_count + 1), else_=1),
            },
        ).returning(
            RateWindow.done_count,
            window_seconds - (now - sa.func.extract("epoch", RateWindow.started_at)),
        )
    ).one()
    return done_count, max(1, int(left) + 1)


def forget_old(session: Session) -> None:
    """Deletes windows nobody asks for any more."""
    age = sa.func.now() - RateWindow.started_at
    limit = sa.func.make_interval(0, 0, 0, 0, 0, 0, _FORGOTTEN_SECONDS)
    session.execute(sa.delete(RateWindow).where(age > limit))

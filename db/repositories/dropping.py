"""Crashes that are not the simulator's: recognised by their text, removed from all batches.

Before crashes had an exception of their own, whatever a replay's callbacks raised was stored as
one: a lock timeout of the database, for example, with its SQL.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload

from db.models import Batch, Result, Run
from db.repositories import batch_events

REASON = "its result was dropped, because it was a fault of the service: retry the batch"

_FRAME = re.compile(r'^\s*File "([^"]+)"', re.MULTILINE)
# The places of the simulator, today and before there were several engines.
_SIMULATOR = ("/refault/engines/", "/refault/replay/", "/refault/mmu/")
_DATABASE = ("sqlalche", "psycopg")


def foreign_crashes(session: Session) -> Iterator[uuid.UUID]:
    """Crashes whose traceback does not end in the simulator."""
    query = sa.select(Result.id, Result.crash).where(Result.outcome == "crashed")
    for row in session.execute(query.order_by(Result.id).execution_options(yield_per=500)):
        if is_foreign(row.crash):
            yield row.id


def is_foreign(crash: str) -> bool:
    """Whether a crash was not raised by the simulator itself."""
    frames = _FRAME.findall(crash)
    if frames:
        return not any(folder in frames[-1] for folder in _SIMULATOR)
    # With a long statement the text has no room for frames.
    return any(word in crash for word in _DATABASE)


def drop(session: Session, result_id: uuid.UUID) -> int:
    """Remove a result; its runs become failed and can be retried. Answers the number of runs."""
    wanted = sa.select(Run.batch_id).where(Run.result_id == result_id)
    locked = session.scalars(
        sa.select(Batch).where(Batch.id.in_(wanted)).order_by(Batch.id).with_for_update(of=Batch)
    ).all()
    run_count = 0
    for batch in locked:
        runs = session.scalars(
            sa.select(Run)
            .where(Run.batch_id == batch.id, Run.result_id == result_id)
            .order_by(Run.id)
            .options(lazyload(Run.variant), lazyload(Run.trace))
        ).all()
        with session.no_autoflush:
            batch.cached_count -= sum(run.found for run in runs)
            for run in runs:
                run.state, run.error, run.result_id, run.found = "failed", REASON, None, False
            batch.done_count -= len(runs)
            batch.failed_count += len(runs)
            if batch.is_over:
                batch.state = "failed"
        session.flush()
        for run in runs:
            batch_events.add_run(session, batch, run)
        run_count += len(runs)
    session.flush()
    session.execute(sa.delete(Result).where(Result.id == result_id))
    return run_count

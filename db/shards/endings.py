"""How an attempt ends without a result: given back, failed, cancelled.

Each function that takes a fence locks the batch, then the shard, and does nothing if the shard has
moved on to another attempt.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Run, Shard
from db.repositories import batch_events, batches
from db.shards import states
from db.shards.fences import Fence, held
from db.shards.messages import ShardMessage

LOSSES_MAX = 3
"""After this many losses a shard fails: further attempts would only kill more workers."""


def cancelled(session: Session, fence: Fence) -> bool:
    """End a shard whose worker stopped on a cancel; False if the fence no longer holds.

    If the batch has been resumed in the meantime, the shard waits again, and the next sweep
    sends its message.
    """
    found = held(session, fence)
    if found is None:
        return False
    batch, shard = found
    if batch.cancel_requested_at is None:
        requeue(session, batch, shard, "stopped, and then resumed", counts_as_loss=False)
        shard.published_at = None
        return True
    cancel_shard(session, batch, shard)
    batches.settle(session, batch)
    return True


def fail(session: Session, fence: Fence, error: str) -> bool:
    """Fail a shard that no attempt can complete; False if the fence no longer holds."""
    found = held(session, fence)
    if found is None:
        return False
    batch, shard = found
    fail_locked(session, batch, shard, error)
    return True


def give_back(
    session: Session,
    fence: Fence,
    error: str,
    *,
    counts_as_loss: bool = True,
    is_death: bool = False,
) -> ShardMessage | None:
    """End an attempt without a result, for a reason that may be temporary.

    Answers the message for the next attempt; None when there is none, because
    the fence no longer holds, the batch is cancelled, or this was loss number
    :data:`LOSSES_MAX` and the shard has failed. An attempt that was merely
    interrupted (the worker was told to stop) does not count as a loss. A death
    may be one variant's doing: instead of failing, its shard is taken apart.
    """
    found = held(session, fence)
    if found is None:
        return None
    batch, shard = found
    return requeue(session, batch, shard, error, counts_as_loss=counts_as_loss, is_death=is_death)


def requeue(
    session: Session,
    batch: Batch,
    shard: Shard,
    error: str,
    *,
    counts_as_loss: bool = True,
    is_death: bool = False,
) -> ShardMessage | None:
    """Queue a shard for its next attempt, or end it; batch and shard must be locked."""
    if batch.cancel_requested_at is not None:
        cancel_shard(session, batch, shard)
        batches.settle(session, batch)
        return None
    shard.lost_count += int(counts_as_loss)
    if is_death and shard.lost_count >= LOSSES_MAX:
        _take_apart(session, batch, shard)
    if shard.lost_count >= LOSSES_MAX:
        fail_locked(session, batch, shard, f"given up after {shard.lost_count} attempts: {error}")
        return None
    # Whoever gives it back publishes right after the commit.
    states.take_step(shard, states.REQUEUE, error=error, published_at=sa.func.now())
    for run in shard.runs:
        if run.state == "running":
            run.state = "queued"
    session.flush()
    batch_events.add(
        session,
        batch,
        "shard.requeued",
        shard_id=str(shard.id),
        attempt=shard.attempt,
        error=error,
    )
    return ShardMessage(shard.id, shard.attempt)


def _take_apart(session: Session, batch: Batch, shard: Shard) -> None:
    """Give each run its own shard and one more attempt, so that one bad run fails alone.

    The first run stays where it is. The sweep finds that the new shards have no message.
    """
    _, *others = [run for run in shard.runs if run.state in states.OPEN]
    if not others:
        return
    shard.lost_count = LOSSES_MAX - 1
    # It holds the variants of all.
    shard.snapshot_digest = shard.snapshot_events = None
    for run in others:
        run.state = "queued"
        run.shard = Shard(
            project_id=shard.project_id,
            batch_id=batch.id,
            trace_id=shard.trace_id,
            simulator_digest=shard.simulator_digest,
            attempt=shard.attempt + 1,
            lost_count=LOSSES_MAX - 1,
            events_total=shard.events_total,
            error=shard.error,
        )
    session.flush()
    session.refresh(shard, ["runs"])
    batch_events.add(
        session, batch, "shard.taken_apart", shard_id=str(shard.id), shard_count=1 + len(others)
    )


def fail_locked(session: Session, batch: Batch, shard: Shard, error: str) -> None:
    """Fail a shard and its open runs; batch and shard must be locked."""
    states.take_step(shard, states.FAIL, error=error, finished_at=sa.func.now())
    batch.failed_count += _end_open_runs(session, shard, "failed", error)
    session.flush()
    batch_events.add(session, batch, "shard.failed", shard_id=str(shard.id), error=error)
    batches.settle(session, batch)


def cancel_shard(session: Session, batch: Batch, shard: Shard) -> None:
    """Cancel a shard and its open runs; batch and shard must be locked."""
    states.take_step(shard, states.CANCEL, finished_at=sa.func.now())
    batch.cancelled_count += _end_open_runs(session, shard, "cancelled", None)
    session.flush()
    batch_events.add(session, batch, "shard.cancelled", shard_id=str(shard.id))


def _end_open_runs(session: Session, shard: Shard, state: str, error: str | None) -> int:
    """Put the open runs of a shard into a final state; answers how many there were."""
    ended = session.scalars(
        sa.update(Run)
        .where(Run.shard_id == shard.id, Run.state.in_(states.OPEN))
        .values(state=state, error=error, finished_at=sa.func.now())
        .returning(Run.id)
        .execution_options(synchronize_session="fetch")
    ).all()
    return len(ended)

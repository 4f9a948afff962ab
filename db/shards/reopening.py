"""Batches reopened: resumed after a cancel, retried where they failed, or moved on.

What goes on keeps its runs; only those that go on count as open again. A shard
that is run again gets its next attempt, so whoever held it before finds the
fence closed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import Conflict
from db.models import Batch, Run, Shard, Trace, Variant
from db.models.runs import RUN_STATES
from db.repositories import batch_events, batches, simulators
from db.repositories.patch_sets import to_variant
from db.repositories.runs import EVERY, Filter
from db.shards import cutting, planning, refusals, states
from db.shards.messages import ShardMessage
from refault.errors import CatalogueError, NotFound


def resume(session: Session, batch_id: uuid.UUID) -> tuple[Batch, list[ShardMessage]]:
    """Undo a cancel: cancelled runs are queued again; answers the batch and messages to send.

    While running shards have not yet seen the cancel, they simply go on.

    Raises:
        NotFound: there is no such batch.
        Conflict: nothing of it was cancelled, or no worker has its simulator any more.
    """
    batch = batches.lock(session, batches.get(session, batch_id).id)
    runs = _runs(session, batch, ("cancelled",))
    is_being_cancelled = batch.cancel_requested_at is not None and not batch.is_over
    if not runs and not is_being_cancelled:
        raise Conflict(f"batch {batch.code} is {batch.state}, not cancelled: nothing to resume")
    _refuse_stale(session, batch)
    messages = _reopen(session, batch, runs)
    batch_events.add(session, batch, "batch.resumed", run_count=len(runs))
    return batch, messages


def retry(
    session: Session,
    batch_id: uuid.UUID,
    *,
    crashed: bool = False,
    wanted: Filter = EVERY,
    refused_variants: refusals.RefusedVariants = refusals.none_refused,
) -> tuple[Batch, list[ShardMessage]]:
    """Run only what failed again; answers the batch and the messages to send.

    ``wanted``: only runs of that trace, of that variant, or of both: one cell.

    ``crashed``: also runs on which the simulator crashed. That is a stored
    result; the new one replaces it, for every batch that shows the cell. What
    an engine still cannot replay (``refused_variants``, as in planning) stays failed.

    Raises:
        NotFound: there is no such batch, or it has no such cell.
        CatalogueError: the catalogue has changed since, and a variant is another one now.
        Conflict: nothing failed, it is being cancelled, or no worker has its simulator any more.
    """
    batch = batches.lock(session, batches.get(session, batch_id).id)
    if batch.cancel_requested_at is not None and not batch.is_over:
        raise Conflict(
            f"batch {batch.code} is being cancelled: resume it, or retry once it is over"
        )
    found = _runs(session, batch, ("failed", "crashed") if crashed else ("failed",), wanted)
    runs = _without_refused(found, refused_variants)
    if found and not runs:
        raise Conflict(f"batch {batch.code}: no engine can replay what failed: nothing to retry")
    if not runs:
        raise _nothing_failed(session, batch, wanted, crashed=crashed)
    _refuse_stale(session, batch)
    messages = _reopen(session, batch, runs)
    batch_events.add(session, batch, "batch.retried", run_count=len(runs))
    return batch, messages


def _nothing_failed(
    session: Session, batch: Batch, wanted: Filter, *, crashed: bool
) -> Conflict | NotFound:
    """Why there is nothing to retry."""
    if wanted != EVERY and not _runs(session, batch, RUN_STATES, wanted):
        return NotFound(f"batch {batch.code} has no such cell: `GET` its runs lists them")
    kinds = "failed or crashed" if crashed else "failed"
    place = "" if wanted == EVERY else " there"
    text = f"batch {batch.code} has no run{place} that {kinds}: nothing to retry"
    if not crashed and _runs(session, batch, ("crashed",), wanted):
        text += "; what crashed is run again only with `crashed`"
    return Conflict(text)


def retryable_count(
    session: Session, batch: Batch, refused_variants: refusals.RefusedVariants
) -> int:
    """How many runs :func:`retry` would run again: the failed ones that no engine refuses.

    0 if the catalogue has changed since, as a retry is refused then. Whether the batch is
    stale is not asked.
    """
    if not batch.failed_count:
        return 0
    try:
        refused = refused_cells(session, batch, refused_variants)
    except CatalogueError:
        return 0
    return batch.failed_count - len(refused)


def refused_cells(
    session: Session,
    batch: Batch,
    refused_variants: refusals.RefusedVariants,
    digests: Collection[str] | None = None,
) -> refusals.Unrunnable:
    """The failed cells that no engine can replay, with the reason: to retry them cannot help.

    Of the traces of these ``digests``, or of all.

    Raises:
        CatalogueError: the catalogue has changed since, and a variant is another one now.
    """
    if not batch.failed_count:
        return {}
    is_failed = [Run.batch_id == batch.id, Run.state == "failed"]
    if digests is not None:
        is_failed.append(Run.trace.has(Trace.digest.in_(digests)))
    traces = session.scalars(
        sa.select(Trace).where(Trace.id.in_(sa.select(Run.trace_id).where(*is_failed)))
    ).all()
    variants = session.scalars(
        sa.select(Variant).where(
            Variant.digest.in_(sa.select(Run.variant_digest).where(*is_failed))
        )
    ).all()
    found = refusals.unrunnable(traces, [to_variant(row) for row in variants], refused_variants)
    cells = session.execute(
        sa.select(Trace.digest, Run.variant_digest).join(Run.trace).where(*is_failed)
    )
    return {
        (trace, variant): found[trace, variant]
        for trace, variant in cells
        if (trace, variant) in found
    }


def _without_refused(runs: Sequence[Run], ask: refusals.RefusedVariants) -> list[Run]:
    """The runs that an engine can replay; the others would only fail again."""
    traces = {run.trace_id: run.trace for run in runs}
    variants = {run.variant_digest: run.variant for run in runs}
    refused = refusals.unrunnable(
        traces.values(), [to_variant(row) for row in variants.values()], ask
    )
    return [run for run in runs if (run.trace.digest, run.variant_digest) not in refused]


def move_on(
    session: Session, batch: Batch, simulators_by_engine: Mapping[str, str]
) -> list[ShardMessage]:
    """Continue a batch with other simulators of these engines; answers the messages to send.

    It must be locked. All its cells of one engine are of one simulator, so what has a result of the
    old one is computed again, or found. What has failed stays failed. No shard may be running.
    """
    return [
        message
        for engine, digest in simulators_by_engine.items()
        for message in _move_on(session, batch, engine, digest)
    ]


def _move_on(
    session: Session, batch: Batch, engine: str, simulator_digest: str
) -> list[ShardMessage]:
    found = _runs(session, batch, ("done", "cached", "crashed"))
    runs = [run for run in found if run.variant.engine == engine]
    old = batch.simulator_of(engine)
    if engine == batch.engine:
        batch.simulator_digest = simulator_digest
        is_of_engine: sa.ColumnElement[bool] = Shard.simulator_digest.is_(None)
    else:
        batch.other_simulators = {**batch.other_simulators, engine: simulator_digest}
        session.execute(
            sa.update(Shard)
            .where(Shard.batch_id == batch.id, Shard.simulator_digest == old)
            .values(simulator_digest=simulator_digest)
            .execution_options(synchronize_session=False)
        )
        is_of_engine = Shard.simulator_digest == simulator_digest
    batch.content_digest = planning.content_digest_of(session, batch)
    # What was put aside is of the old simulator.
    session.execute(
        sa.update(Shard)
        .where(Shard.batch_id == batch.id, Shard.state == states.QUEUED, is_of_engine)
        .values(snapshot_digest=None, snapshot_events=None, published_at=None)
        .execution_options(synchronize_session=False)
    )
    messages = _reopen(session, batch, runs)
    for run in runs:
        # A crash of the old one says nothing of the new one's.
        run.again = False
    batch_events.add(
        session,
        batch,
        "batch.moved_on",
        run_count=len(runs),
        engine=engine,
        old_simulator=old,
        simulator=simulator_digest,
    )
    return messages


def _runs(
    session: Session, batch: Batch, states: Sequence[str], wanted: Filter = EVERY
) -> list[Run]:
    query = sa.select(Run).where(Run.batch_id == batch.id, Run.state.in_(states))
    if wanted.trace_digest is not None:
        of_trace = sa.select(Trace.id).where(Trace.digest == wanted.trace_digest)
        query = query.where(Run.trace_id.in_(of_trace))
    if wanted.variant_digest is not None:
        query = query.where(Run.variant_digest == wanted.variant_digest)
    query = query.order_by(Run.position).execution_options(populate_existing=True)
    return list(session.scalars(query).unique())


def _refuse_stale(session: Session, batch: Batch) -> None:
    present = simulators.current(session)
    for engine, digest in batch.simulators.items():
        if simulators.is_stale({engine: digest}, present):
            raise Conflict(
                f"batch {batch.code} was planned for simulator {digest[:12]} of engine {engine},"
                " which is not the present one: submit it again"
            )


def _reopen(session: Session, batch: Batch, runs: Sequence[Run]) -> list[ShardMessage]:
    """Queue the runs and their shards again; the batch must be locked."""
    shards = _lock_shards(session, batch, runs)
    homeless: dict[tuple[uuid.UUID, str], cutting.Part] = {}
    with session.no_autoflush:
        batch.cancel_requested_at = None
        if runs and batch.is_over:
            batch.state, batch.finished_at = "queued", None
        for run in runs:
            _open(batch, run)
            if run.shard_id not in shards:
                engine = run.variant.engine
                part = cutting.Part(run.trace, engine, [])
                homeless.setdefault((run.trace_id, engine), part).runs.append(run)
        for shard in shards.values():
            # The caller publishes right after the commit.
            states.take_step(shard, states.REOPEN, published_at=sa.func.now())
    session.flush()
    new = cutting.cut(
        session,
        batch,
        list(homeless.values()),
        worker_count=simulators.worker_count(session, batch.simulators.values()),
        now=session.scalars(sa.select(sa.func.now())).one(),
    )
    return [ShardMessage(shard.id, shard.attempt) for shard in (*shards.values(), *new)]


def _lock_shards(session: Session, batch: Batch, runs: Sequence[Run]) -> dict[uuid.UUID, Shard]:
    """Lock the ended shards of these runs; a shard that still runs is left alone."""
    wanted = {run.shard_id for run in runs if run.shard_id is not None}
    query = (
        sa.select(Shard)
        .where(Shard.batch_id == batch.id, Shard.id.in_(wanted), Shard.state.in_(states.ENDED))
        .order_by(Shard.id)
        .with_for_update(of=Shard)
        .execution_options(populate_existing=True)
    )
    return {shard.id: shard for shard in session.scalars(query).unique()}


def _open(batch: Batch, run: Run) -> None:
    """Count the run as open again."""
    match run.state:
        case "cancelled":
            batch.cancelled_count -= 1
        case "failed":
            batch.failed_count -= 1
        case _:
            batch.done_count -= 1
            batch.cached_count -= int(run.found)
            run.again = True
    run.state = "queued"
    run.result_id = None
    run.error = None
    run.found = False
    run.finished_at = None

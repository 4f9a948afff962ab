"""Recording: what a worker computed becomes results, and ends its runs, shards and batch."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Batch, Result, Shard
from db.repositories import batch_events, batches, documents, operations, results, webhooks
from db.shards import fences, states
from db.shards.fences import Fence


@dataclasses.dataclass(frozen=True)
class Computed:
    """What a worker computed for one shard: the outcomes of its runs, and the seconds it took."""

    fence: Fence
    outcomes: Sequence[results.Outcome]
    seconds: float


def record(
    session: Session, computed: Sequence[Computed], *, simulators: Mapping[str, str], worker: str
) -> list[Fence]:
    """Write the outcomes of shards of one batch, and end them.

    ``simulators`` are the worker's, by engine: what it computed is theirs.

    Answers those whose fence still held; nothing of the others is written. Results, documents,
    runs, shards, counts and the batch's end are one transaction, so a shard delivered or computed
    twice counts once.
    """
    batch, found = fences.locked_together(session, [entry.fence for entry in computed])
    held = [
        (entry, shard)
        for entry in computed
        if (shard := found.get(entry.fence)) is not None and shard.state == states.RUNNING
    ]
    if len(held) < len(computed):
        operations.count(session, operations.RESULTS_DROPPED, len(computed) - len(held))
    if batch is None or not held:
        return []
    written = results.write(
        session,
        [
            (shard.trace.digest, simulators[shard.engine], outcome)
            for entry, shard in held
            for outcome in entry.outcomes
            if outcome.failure is None
        ],
        worker=worker,
        project_id=batch.project_id,
    )
    documents.write(
        session,
        [
            document
            for entry, _ in held
            for outcome in entry.outcomes
            for document in outcome.documents
        ],
        project_id=batch.project_id,
    )
    now = fences.clock(session)
    alarms: dict[str, list[str]] = {}
    for entry, shard in held:
        alarmed = _end(session, batch, shard, entry, written, now)
        if alarmed:
            # Two shards of one trace may be recorded together.
            alarms.setdefault(shard.trace.digest, []).extend(alarmed)
    batches.settle(session, batch)
    for trace_digest, variant_digests in alarms.items():
        webhooks.announce(
            session,
            "integrity.alarm",
            batch,
            trace_digest=trace_digest,
            variant_digests=variant_digests,
        )
        operations.count(session, operations.INTEGRITY_ALARMS, len(variant_digests))
    return [entry.fence for entry, _ in held]


def recorded(session: Session, fences: Collection[Fence]) -> set[Fence]:
    """Which of the fences are recorded: asked when the answer to a commit was lost."""
    query = sa.select(Shard.id, Shard.attempt).where(
        Shard.id.in_({fence.shard_id for fence in fences}), Shard.state == states.DONE
    )
    return {Fence(*row) for row in session.execute(query)} & set(fences)


def _end(
    session: Session,
    batch: Batch,
    shard: Shard,
    entry: Computed,
    written: Mapping[tuple[str, str], tuple[Result, bool]],
    now: datetime.datetime,
) -> list[str]:
    """End a shard and its runs; answers the variants that raised an integrity alarm."""
    alarms: list[str] = []
    by_variant = {run.variant_digest: run for run in shard.runs if run.state == "running"}
    for outcome in entry.outcomes:
        run = by_variant.pop(outcome.variant_digest)
        if outcome.failure is not None:
            run.state = "failed"
            run.error = outcome.failure
            run.finished_at = now
            batch.failed_count += 1
            batch_events.add_run(session, batch, run)
            continue
        result, alarmed = written[shard.trace.digest, outcome.variant_digest]
        results.link(run, result, found=False, at=now)
        batch.done_count += 1
        batch_events.add_run(session, batch, run, integrity_alarm=alarmed)
        alarms += [outcome.variant_digest] * alarmed
    if by_variant:
        missing = ", ".join(sorted(digest[:12] for digest in by_variant))
        raise RuntimeError(f"shard {shard.id}: no outcome for variants {missing}")
    states.take_step(
        shard,
        states.RECORD,
        events_done=shard.events_total,
        # Shards taken together began one after the other; estimates rest on how long each took.
        started_at=now - datetime.timedelta(seconds=entry.seconds),
        finished_at=now,
    )
    batch_events.add(session, batch, "shard.done", shard_id=str(shard.id))
    return alarms

"""From a request to rows: columns, runs, shards, and what is known already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.identifiers import CODE_LENGTH, batch_code, uuid7
from db.messages import ShardMessage
from db.models import Batch, BatchColumn, BatchTrace, PatchSet, Result, Run, Shard, Trace
from db.models.batches import BATCH_FINAL_STATES, BATCH_PLANS
from db.repositories import batch_events, patch_sets, projects, results
from db.scope import EVERYWHERE
from refault import catalogue
from refault.errors import EmptyBatch, InvalidParameter

VARIANTS_PER_SHARD_MAX = 4
"""One decode serves this many variants; more would leave the other workers idle."""

RUNS_MAX = 10_000


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """A batch, and the messages to send once it is committed.

    ``created`` is False when an equal batch is under way and was answered instead.
    """

    batch: Batch
    messages: tuple[ShardMessage, ...]
    created: bool


@dataclasses.dataclass(frozen=True)
class _Column:
    label: str
    patch_set_id: uuid.UUID
    prefix_length: int | None
    variant: catalogue.Variant


def plan_batch(
    session: Session,
    *,
    traces: Sequence[Trace],
    patch_sets: Sequence[PatchSet],
    plan: str,
    simulator_digest: str,
    recompute: bool = False,
) -> PlannedBatch:
    """Plans traces × patch sets: one run per trace and distinct variant.

    ``plan`` is ``each`` (a column per patch set) or ``series`` (a column for the
    base and one per prefix of each patch set). Runs whose result is known are
    linked to it at once, unless ``recompute`` asks for everything again.

    Raises:
        EmptyBatch: there is no trace or no patch set.
        InvalidParameter: the plan is unknown, or the batch has more than 10,000 runs.
        QuotaExceeded: more runs would wait than the project may have.
    """
    traces = list({trace.id: trace for trace in traces}.values())
    columns = list(_columns(patch_sets, plan))
    if not traces or not columns:
        missing = "trace" if not traces else "patch set"
        raise EmptyBatch(f"the batch has nothing to run: name at least one {missing}")
    variants = {column.variant.digest: column.variant for column in columns}
    if len(traces) * len(variants) > RUNS_MAX:
        raise InvalidParameter(
            f"{len(traces)} traces × {len(variants)} variants are more than"
            f" {RUNS_MAX} runs: submit several batches"
        )
    content_digest = _content_digest(traces, columns, plan, simulator_digest, recompute=recompute)
    # Two equal requests at once: the second waits here and then finds the first one's batch.
    lock_key = int.from_bytes(bytes.fromhex(content_digest[:16]), signed=True)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key)))
    present = _find_under_way(session, content_digest)
    if present is not None:
        return PlannedBatch(present, (), created=False)

    batch = Batch(
        id=uuid7(),
        code=_free_code(session),
        plan=plan,
        recompute=recompute,
        state="queued",
        simulator_digest=simulator_digest,
        content_digest=content_digest,
        run_count=len(traces) * len(variants),
        done_count=0,
        cached_count=0,
        failed_count=0,
        cancelled_count=0,
    )
    session.add(batch)
    session.flush()
    _write_columns(session, batch, traces, columns)
    shards = _write_runs(session, batch, traces, variants)
    if shards:
        projects.check_room_for_runs(session)
    batch_events.add(session, batch, "batch.planned", shard_count=len(shards))
    return PlannedBatch(
        batch, tuple(ShardMessage(shard.id, shard.attempt) for shard in shards), created=True
    )


def _columns(rows: Sequence[PatchSet], plan: str) -> Iterator[_Column]:
    """The comparison's columns in order; a base that several series share appears once."""
    if plan not in BATCH_PLANS:
        raise InvalidParameter(f"no plan {plan!r}: choose one of {', '.join(BATCH_PLANS)}")
    bases_seen: set[str] = set()
    for row in {row.id: row for row in rows}.values():
        wanted = patch_sets.to_catalogue(row)
        if plan == "each":
            yield _Column(row.name, row.id, None, catalogue.resolve(wanted))
            continue
        lead = f"{row.name} " if len(rows) > 1 else ""
        for prefix in catalogue.prefixes(wanted):
            variant = catalogue.resolve(prefix)
            length = len(prefix.patches)
            label = catalogue.prefix_label(prefix)
            if length == 0:
                if variant.digest in bases_seen:
                    continue
                bases_seen.add(variant.digest)
                yield _Column(label, row.id, 0, variant)
            else:
                yield _Column(lead + label, row.id, length, variant)


def _content_digest(
    traces: Sequence[Trace],
    columns: Sequence[_Column],
    plan: str,
    simulator_digest: str,
    *,
    recompute: bool,
) -> str:
    document = [
        [trace.digest for trace in traces],
        [[column.label, str(column.patch_set_id), column.variant.digest] for column in columns],
        [plan, simulator_digest, recompute],
    ]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _find_under_way(session: Session, content_digest: str) -> Batch | None:
    query = sa.select(Batch).where(
        Batch.content_digest == content_digest,
        Batch.state.not_in(BATCH_FINAL_STATES),
        Batch.cancel_requested_at.is_(None),
    )
    return session.scalars(query.order_by(Batch.id.desc()).limit(1)).first()


def _free_code(session: Session) -> str:
    """A code no batch has; longer ones once the short ones get crowded."""
    for extra in range(8):
        code = batch_code(CODE_LENGTH + extra // 2)
        query = sa.select(Batch.id).where(Batch.code == code)
        if session.scalar(query.execution_options(**EVERYWHERE)) is None:
            return code
    return batch_code(2 * CODE_LENGTH)


def _write_columns(
    session: Session, batch: Batch, traces: Sequence[Trace], columns: Sequence[_Column]
) -> None:
    for column in columns:
        patch_sets.add_variant(session, column.variant)
    session.add_all(
        BatchTrace(batch_id=batch.id, position=position, trace_id=trace.id)
        for position, trace in enumerate(traces)
    )
    session.add_all(
        BatchColumn(
            batch_id=batch.id,
            position=position,
            label=column.label,
            patch_set_id=column.patch_set_id,
            prefix_length=column.prefix_length,
            variant_digest=column.variant.digest,
        )
        for position, column in enumerate(columns)
    )
    session.flush()


def _write_runs(
    session: Session,
    batch: Batch,
    traces: Sequence[Trace],
    variants: dict[str, catalogue.Variant],
) -> list[Shard]:
    """One run per trace and variant; those without a known result go into shards."""
    known: dict[tuple[str, str], Result] = {}
    if not batch.recompute:
        known = results.find_many(
            session, [trace.digest for trace in traces], list(variants), batch.simulator_digest
        )
    shards: list[Shard] = []
    position = 0
    for trace in traces:
        missing: list[Run] = []
        for variant_digest in variants:
            result = known.get((trace.digest, variant_digest))
            run = Run(
                id=uuid7(),
                batch_id=batch.id,
                trace_id=trace.id,
                variant_digest=variant_digest,
                position=position,
                state="queued",
            )
            position += 1
            if result is None:
                missing.append(run)
            else:
                results.link(run, result, found=True)
                batch.done_count += 1
                batch.cached_count += 1
            session.add(run)
        shards += _cut(session, batch, trace, missing)
    session.flush()
    if not shards:
        # Asked before the state is set: the row must never be written with one and not the other.
        now = session.scalar(sa.select(sa.func.now()))
        batch.state, batch.finished_at = "done", now
    session.flush()
    return shards


def _cut(session: Session, batch: Batch, trace: Trace, runs: list[Run]) -> list[Shard]:
    """Shards of nearly equal size, at most :data:`VARIANTS_PER_SHARD_MAX` runs each."""
    shard_count = -(-len(runs) // VARIANTS_PER_SHARD_MAX)
    shards = []
    for index in range(shard_count):
        shard = Shard(
            id=uuid7(),
            batch_id=batch.id,
            trace_id=trace.id,
            state="queued",
            attempt=1,
            lost_count=0,
            events_done=0,
            events_total=trace.event_count,
            # The caller publishes right after the commit; the sweep looks after what it lost.
            published_at=sa.func.now(),
        )
        session.add(shard)
        session.flush()
        for run in runs[index::shard_count]:
            run.shard_id = shard.id
        shards.append(shard)
    return shards

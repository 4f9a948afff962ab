"""From a request to rows: columns, runs, shards, and what is known already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import NoSimulator
from db.identifiers import CODE_LENGTH, batch_code, uuid7
from db.models import Batch, BatchColumn, BatchTrace, PatchSet, Result, Run, Shard, Trace
from db.models.batches import BATCH_FINAL_STATES, PRIORITY_DEFAULT
from db.repositories import batch_events, projects, results, simulators, webhooks
from db.repositories.patch_sets import add_variant, to_catalogue
from db.scope import EVERYWHERE, project_of
from db.shards import auditing, cutting, refusals
from db.shards.messages import QuestionMessage, ShardMessage
from refault import catalogue
from refault.audits import Level
from refault.errors import EmptyBatch, InvalidParameter
from refault.lineage import present_name

RUNS_MAX = 10_000


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """A batch, and the messages to send once it is committed.

    ``created`` is False when an equal batch is under way and was answered instead.
    """

    batch: Batch
    messages: tuple[ShardMessage, ...]
    created: bool
    audits: tuple[QuestionMessage, ...] = ()


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the comparison to be."""

    label: str
    patch_set_id: uuid.UUID
    prefix_length: int | None
    variant: catalogue.Variant


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for, with its plan expanded: ``traces`` × ``columns``, each once."""

    traces: tuple[Trace, ...]
    plan: str
    columns: tuple[Column, ...]
    # What makes no machine, and what an engine cannot replay.
    refused: tuple[catalogue.Refusal, ...]
    unrunnable: refusals.Unrunnable
    # The digest of each engine of the columns, by name, the base's first.
    simulators: Mapping[str, str]
    recompute: bool
    priority: int
    # How closely every run is audited; None: not at all.
    audit: Level | None = None
    title: str = ""

    @property
    def variants(self) -> dict[str, catalogue.Variant]:
        """The distinct machines of the columns, by digest."""
        return {column.variant.digest: column.variant for column in self.columns}

    @property
    def variants_by_engine(self) -> dict[str, list[str]]:
        """Their digests, by engine: a shard holds variants of one."""
        found: dict[str, list[str]] = {engine: [] for engine in self.simulators}
        for digest, variant in self.variants.items():
            found[variant.engine].append(digest)
        return found

    @property
    def simulator_digest(self) -> str:
        """The simulator of the base column."""
        return next(iter(self.simulators.values()))

    @property
    def run_count(self) -> int:
        """One run per trace and distinct variant."""
        return len(self.traces) * len(self.variants)

    @property
    def content_digest(self) -> str:
        """A digest of what the batch computes and shows; priority and title are left out."""
        return _content_digest(
            [trace.digest for trace in self.traces],
            [
                (column.label, str(column.patch_set_id), column.variant.digest)
                for column in self.columns
            ],
            (self.plan, self.simulators, self.recompute),
            None if self.audit is None else self.audit.word,
        )


def expand(
    *,
    traces: Sequence[Trace],
    patch_sets: Sequence[PatchSet],
    plan: str,
    simulators: Mapping[str, str],
    refused_variants: refusals.RefusedVariants = refusals.none_refused,
    axes: Mapping[str, Sequence[catalogue.AxisValue]] | None = None,
    make: catalogue.Make = catalogue.resolve,
    recompute: bool = False,
    priority: int = PRIORITY_DEFAULT,
    audit: Level | None = None,
) -> Request:
    """Expand a request into traces × columns; writes nothing.

    ``simulators`` are those that workers offer: digests by engine. ``refused_variants`` says of a
    trace which of the variants their engines cannot replay; those cells are never queued. ``make``
    makes a machine of a patch set (``programs.resolver``).

    Raises:
        EmptyBatch: there is no trace or no patch set, or no engine can replay any cell.
        NoSimulator: no worker has registered the engine of one of the columns.
        InvalidParameter: the plan or an axis is unknown, or there are more than 10,000 runs.
    """
    distinct = {trace.id: trace for trace in traces}
    rows = list({row.id: row for row in patch_sets}.values())
    expansion = catalogue.expand(
        [catalogue.NamedSet(row.name, to_catalogue(row)) for row in rows], plan, axes, make
    )
    if not distinct or not expansion.columns:
        missing = "trace" if not distinct else "patch set"
        raise EmptyBatch(f"the batch has nothing to run: name at least one {missing}")
    columns = tuple(
        Column(column.label, rows[column.set_index].id, column.prefix_length, column.variant)
        for column in expansion.columns
    )
    variants = {column.variant.digest: column.variant for column in columns}
    if len(distinct) * len(variants) > RUNS_MAX:
        raise InvalidParameter(
            f"{len(distinct)} traces × {len(variants)} variants are more than"
            f" {RUNS_MAX} runs: submit several batches"
        )
    unrunnable = refusals.unrunnable(distinct.values(), list(variants.values()), refused_variants)
    told = refusals.sentences(
        distinct.values(), [(column.label, column.variant) for column in columns], unrunnable
    )
    request = Request(
        traces=tuple(distinct.values()),
        plan=plan,
        columns=columns,
        refused=(*expansion.refused, *told),
        unrunnable=unrunnable,
        simulators=_chosen([column.variant.engine for column in expansion.columns], simulators),
        recompute=recompute,
        priority=priority,
        audit=audit,
    )
    auditing.check(audit, request.run_count)
    if len(unrunnable) == request.run_count:
        reason = next(iter(unrunnable.values()))
        raise EmptyBatch(f"the batch has nothing to run: no engine can replay it: {reason}")
    return request


def _chosen(engines: Iterable[str], offered: Mapping[str, str]) -> dict[str, str]:
    """The simulators of these engines: the first one's, and the others by name."""
    first, *others = dict.fromkeys(engines)
    chosen = {}
    for engine in (first, *sorted(others)):
        if engine not in offered:
            raise NoSimulator(
                f"no worker has registered engine {engine!r} yet: start one of this release "
                f"with `python -m worker`; there are {', '.join(sorted(offered))}"
            )
        chosen[engine] = offered[engine]
    return chosen


def write(
    session: Session,
    request: Request,
    *,
    request_id: str | None = None,
    trace_context: str | None = None,
) -> PlannedBatch:
    """Writes a batch: columns, runs and shards.

    Runs whose result is known are linked to it at once, unless the request asks
    to compute everything again. ``request_id`` and
    ``trace_context`` are those of the HTTP request, for logs and traces.
    """
    content_digest = request.content_digest
    # Two equal requests at once: the second waits here and then finds the first one's batch.
    lock_key = int.from_bytes(bytes.fromhex(content_digest[:16]), signed=True)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key)))
    present = _find_under_way(session, content_digest)
    if present is not None:
        # An equal request may raise the priority of the batch under way, never lower it.
        present.priority = max(present.priority, request.priority)
        session.flush()
        return PlannedBatch(present, (), created=False)

    (engine, simulator_digest), *others = request.simulators.items()
    batch = Batch(
        id=uuid7(),
        code=_free_code(session),
        title=request.title,
        plan=request.plan,
        recompute=request.recompute,
        priority=request.priority,
        audit_level=None if request.audit is None else request.audit.word,
        refused=[dataclasses.asdict(refusal) for refusal in request.refused],
        request_id=request_id,
        trace_context=trace_context,
        state="queued",
        engine=engine,
        simulator_digest=simulator_digest,
        other_simulators=dict(others),
        content_digest=content_digest,
        run_count=request.run_count,
        done_count=0,
        cached_count=0,
        failed_count=0,
        cancelled_count=0,
    )
    session.add(batch)
    session.flush()
    _write_columns(session, batch, request)
    shards = _write_runs(session, batch, request)
    if shards:
        projects.check_room_for_runs(session)
    batch_events.add(session, batch, "batch.planned", shard_count=len(shards))
    _announce_if_over(session, batch)
    return PlannedBatch(
        batch,
        tuple(ShardMessage(shard.id, shard.attempt) for shard in shards),
        created=True,
        audits=auditing.ask(
            session,
            request.audit,
            request.traces,
            request.variants.values(),
            request.simulators,
            request.unrunnable,
        ),
    )


def _announce_if_over(session: Session, batch: Batch) -> None:
    """Where there is nothing to compute it ends here, and is told of like any other."""
    if batch.is_over:
        ending = "batch.failed" if batch.state == "failed" else "batch.finished"
        webhooks.announce(session, ending, batch)


def content_digest_of(session: Session, batch: Batch) -> str:
    """What :attr:`Request.content_digest` would be of a request for the batch as it is now."""
    digests = session.scalars(
        sa.select(Trace.digest)
        .join(BatchTrace, BatchTrace.trace_id == Trace.id)
        .where(BatchTrace.batch_id == batch.id)
        .order_by(BatchTrace.position)
    )
    columns = session.execute(
        sa.select(BatchColumn.label, BatchColumn.patch_set_id, BatchColumn.variant_digest)
        .where(BatchColumn.batch_id == batch.id)
        .order_by(BatchColumn.position)
    )
    return _content_digest(
        list(digests),
        [(row.label, str(row.patch_set_id), row.variant_digest) for row in columns],
        (batch.plan, batch.simulators, batch.recompute),
        batch.audit_level,
    )


def _content_digest(
    trace_digests: Sequence[str],
    columns: Sequence[tuple[str, str, str]],
    kind: tuple[str, Mapping[str, str], bool],
    audit_level: str | None,
) -> str:
    plan, simulators, recompute = kind
    # Under their present names, so that a request of a release with other ones is the same.
    names = [present_name(digest) for digest in simulators.values()]
    told = [trace_digests, columns, (plan, *names, recompute)]
    # Left out of a batch without audits, so that it is the same as before there were any.
    document = json.dumps(told if audit_level is None else [*told, audit_level])
    return hashlib.sha256(document.encode()).hexdigest()


def find_known(session: Session, request: Request) -> dict[tuple[str, str], Result]:
    """Results the request need not compute, by (trace digest, variant digest).

    Of those the project may know of: another project's are found when the shard is claimed.
    """
    if request.recompute:
        return {}
    return results.find_many(
        session,
        [trace.digest for trace in request.traces],
        list(request.variants),
        request.simulators.values(),
        project_id=project_of(session),
    )


def _find_under_way(session: Session, content_digest: str) -> Batch | None:
    query = sa.select(Batch).where(
        Batch.content_digest == content_digest,
        Batch.state.not_in(BATCH_FINAL_STATES),
        Batch.cancel_requested_at.is_(None),
    )
    return session.scalars(query.order_by(Batch.id.desc()).limit(1)).first()


def _free_code(session: Session) -> str:
    """An unused code; longer once most short ones are taken."""
    for extra in range(8):
        code = batch_code(CODE_LENGTH + extra // 2)
        query = sa.select(Batch.id).where(Batch.code == code)
        if session.scalar(query.execution_options(**EVERYWHERE)) is None:
            return code
    return batch_code(2 * CODE_LENGTH)


def _write_columns(session: Session, batch: Batch, request: Request) -> None:
    for column in request.columns:
        add_variant(session, column.variant)
    session.add_all(
        BatchTrace(batch_id=batch.id, position=position, trace_id=trace.id)
        for position, trace in enumerate(request.traces)
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
        for position, column in enumerate(request.columns)
    )
    session.flush()


def _write_runs(session: Session, batch: Batch, request: Request) -> list[Shard]:
    """One run per trace and variant; those that lack a result and can be replayed go into shards.

    What its engine cannot replay has failed from the beginning, with the engine's reason.
    """
    known = find_known(session, request)
    # A value and no expression: rows with expressions are sent one by one.
    now = session.scalars(sa.select(sa.func.now())).one()
    runs: list[Run] = []
    parts: dict[tuple[uuid.UUID, str], cutting.Part] = {
        (trace.id, engine): cutting.Part(trace, engine, [])
        for trace in request.traces
        for engine in request.simulators
    }
    for trace in request.traces:
        for variant_digest, variant in request.variants.items():
            result = known.get((trace.digest, variant_digest))
            run = Run(
                id=uuid7(),
                project_id=batch.project_id,
                batch_id=batch.id,
                trace_id=trace.id,
                variant_digest=variant_digest,
                position=len(runs),
                state="queued",
            )
            refusal = request.unrunnable.get((trace.digest, variant_digest))
            if result is not None:
                results.link(run, result, found=True, at=now)
                batch.done_count += 1
                batch.cached_count += 1
            elif refusal is not None:
                run.state, run.error, run.finished_at = "failed", refusal, now
                batch.failed_count += 1
            else:
                parts[trace.id, variant.engine].runs.append(run)
            runs.append(run)
    worker_count = simulators.worker_count(session, batch.simulators.values())
    shards = cutting.cut(session, batch, list(parts.values()), worker_count=worker_count, now=now)
    session.bulk_save_objects(runs)
    if not shards:
        batch.state, batch.finished_at = "failed" if batch.failed_count else "done", now
    session.flush()
    return shards

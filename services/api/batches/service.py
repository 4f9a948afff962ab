"""Submitting batches, and rows of batches as documents."""

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from sqlalchemy.orm import Session

from db.models import Batch, BatchEvent
from db.repositories import batch_events, batches, runs
from db.shards import estimating, planning, reopening
from db.shards.messages import ShardMessage
from refault.engines import get_engine
from services.api.batches import requested, watching
from services.api.batches.documents import COUNTS, counted, detail_of, progress_of
from services.api.batches.refusals import refused_variants
from services.api.batches.schemas import (
    BatchBody,
    BatchDetail,
    BatchEstimate,
    Refusal,
    StepEvent,
)
from services.api.deps import Resources
from services.api.workers.service import starting
from services.shared import logs, tracing

_log = logging.getLogger(__name__)


def submit(resources: Resources, body: BatchBody) -> tuple[BatchDetail, bool]:
    """Plan a batch and wake the workers; the batch, and whether it is new.

    The plan is one transaction. Messages are sent after its commit: those the
    broker does not take are sent by the sweep later, and the answer says so.
    """
    with resources.transaction() as session:
        planned = planning.write(
            session,
            requested.expanded(session, body, resources.limits),
            request_id=logs.field("request_id"),
            trace_context=tracing.context(),
        )
        session.refresh(planned.batch)
        document = detail_of(session, planned.batch)
    _log.info(
        "batch %s: %d shards queued",
        document.code,
        len(planned.messages),
        extra={"fields": {"batch": document.code}},
    )
    sent_count = resources.sender.publish(planned.messages)
    resources.sender.publish(planned.audits)
    document.notice = _notice(planned, sent_count)
    return document, planned.created


def resume(resources: Resources, name: str) -> BatchDetail:
    """Take a cancel back; see :func:`db.shards.reopening.resume`."""
    return _reopened(resources, name, reopening.resume)


def retry(resources: Resources, name: str, *, crashed: bool, wanted: runs.Filter) -> BatchDetail:
    """Run again what failed; see :func:`db.shards.reopening.retry`."""
    reopen = partial(
        reopening.retry, crashed=crashed, wanted=wanted, refused_variants=refused_variants
    )
    return _reopened(resources, name, reopen)


def _reopened(
    resources: Resources,
    name: str,
    reopen: Callable[[Session, uuid.UUID], tuple[Batch, list[ShardMessage]]],
) -> BatchDetail:
    with resources.transaction() as session:
        batch, messages = reopen(session, batches.get(session, name).id)
        session.refresh(batch)
        document = detail_of(session, batch)
    document.notice = _notice_of_broker(len(messages), resources.sender.publish(messages))
    return document


def estimate(resources: Resources, body: BatchBody) -> BatchEstimate:
    """The estimate of a batch; writes and sends nothing."""
    with resources.transaction() as session:
        request = requested.expanded(session, body, resources.limits)
        found = estimating.estimate(session, request)
    return BatchEstimate(
        traces=len(request.traces),
        columns=[column.label for column in request.columns],
        refused=[Refusal.model_validate(refusal) for refusal in request.refused],
        cells=found.run_count,
        cached=found.cached_count,
        to_run=found.to_run_count,
        shards=found.shard_count,
        events_to_replay=found.events_to_replay,
        work=found.work,
        memory_bytes=found.memory_bytes,
        bytes_to_read=found.bytes_to_read,
        workers=found.worker_count,
        queued_ahead=found.queued_ahead_count,
        seconds=found.seconds,
        basis="; ".join((found.basis, *_of_engines(request.simulators), *_of_audits(request))),
        simulator_digest=request.simulator_digest,
        simulators=dict(request.simulators),
    )


def _of_engines(engines: Iterable[str]) -> Iterator[str]:
    """What an estimate must say of its engines besides their speed."""
    for engine in engines:
        if not get_engine(engine).resumes:
            yield f"a run under {engine} whose worker is lost begins anew"


def _of_audits(request: planning.Request) -> Iterator[str]:
    if request.audit is not None:
        count = request.run_count - len(request.unrunnable)
        yield f"{count} audits ({request.audit.word}) come after the runs, beside this time"


def watched(resources: Resources, batch: Batch) -> watching.Source:
    """Polls a batch for its watchers."""
    return watching.Source(
        batch.id,
        look=partial(_look, resources, batch.id),
        steps_after=partial(_steps_after, resources, batch.id),
        told=_step_event,
    )


def _look(resources: Resources, batch_id: uuid.UUID, before: watching.Look | None) -> watching.Look:
    with resources.transaction() as session:
        # The state is read before the steps: a finished batch has written its last step.
        found = batches.glance(session, batch_id)
        newest_id: int = found.newest_step
        steps = list(before.steps) if before else []
        known_from = before.known_from if before else newest_id
        if before and newest_id > before.newest_id:
            new = batch_events.after(
                session, batch_id, before.newest_id, limit=watching.STEPS_KEPT + 1
            )
            newest_id = max(newest_id, new[-1].id if new else 0)
            steps += new
        waits = found.state == "queued" and not found.events_done
        compiled = starting(session) if waits else []
        if len(steps) > watching.STEPS_KEPT:
            # A watcher that is further behind reads the rows itself.
            steps, known_from = [], newest_id
    now = StepEvent(
        kind="progress",
        state=found.state,
        at=None,
        progress=progress_of(found),
        detail={},
        starting=compiled,
    )
    return watching.Look(newest_id, now, known_from, tuple(steps))


def _steps_after(resources: Resources, batch_id: uuid.UUID, last_seen: int) -> Sequence[BatchEvent]:
    with resources.transaction() as session:
        return batch_events.after(session, batch_id, last_seen)


def _step_event(step: BatchEvent, now: StepEvent) -> StepEvent:
    counts = {name: step.body[name] for name in COUNTS}
    detail = {name: value for name, value in step.body.items() if name not in (*COUNTS, "state")}
    return StepEvent(
        kind=step.kind,
        state=step.body["state"],
        at=step.created_at,
        progress=counted(counts, (now.progress.events_done, now.progress.events_total)),
        detail=detail,
        starting=now.starting,
    )


def _notice(planned: planning.PlannedBatch, sent_count: int) -> str | None:
    if not planned.created:
        return "an equal batch was running already: this is that one"
    return _notice_of_broker(len(planned.messages), sent_count)


def _notice_of_broker(message_count: int, sent_count: int) -> str | None:
    if sent_count == message_count:
        return None
    return (
        f"the broker took {sent_count} of {message_count} messages; the batch is "
        "accepted, and the sweep sends the rest when the broker is back"
    )

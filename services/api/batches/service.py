"""Submitting batches, and rows of batches as documents."""

import logging
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from db import logs, tracing
from db.messages import ShardMessage
from db.models import Batch, BatchEvent
from db.repositories import (
    batch_events,
    batches,
    estimating,
    patch_sets,
    planning,
    reopening,
    results,
    runs,
    simulators,
)
from refault.compare import overall
from services.api.batches import requested, watching
from services.api.batches.schemas import (
    BatchBody,
    BatchDetail,
    BatchEstimate,
    BatchSummary,
    Column,
    PatchSetReference,
    Progress,
    Refusal,
    StepEvent,
    TraceReference,
)
from services.api.comparisons.judging import comparisons_of
from services.api.deps import Resources
from services.api.runs.service import summary_of as run_summary_of

_log = logging.getLogger(__name__)

_COUNTS = ("run_count", "done_count", "cached_count", "failed_count", "cancelled_count")


def submit(resources: Resources, body: BatchBody) -> tuple[BatchDetail, bool]:
    """Plan a batch and nudge the workers; the batch, and whether it is new.

    The plan is one transaction. Messages go out after its commit: what the
    broker does not take, the sweep sends later, and the answer says so.
    """
    with resources.transaction() as session:
        planned = planning.write(
            session,
            requested.expanded(session, body),
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
    document.notice = _notice(planned, sent_count)
    return document, planned.created


def resume(resources: Resources, name: str) -> BatchDetail:
    """Take a cancel back; see :func:`db.repositories.reopening.resume`."""
    return _reopened(resources, name, reopening.resume)


def retry(resources: Resources, name: str, *, crashed: bool) -> BatchDetail:
    """Run again what failed; see :func:`db.repositories.reopening.retry`."""
    return _reopened(resources, name, partial(reopening.retry, crashed=crashed))


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
    """What a batch would come to; writes nothing and sends nothing."""
    with resources.transaction() as session:
        request = requested.expanded(session, body)
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
        bytes_to_read=found.bytes_to_read,
        workers=found.worker_count,
        queued_ahead=found.queued_ahead_count,
        seconds=found.seconds,
        basis=found.basis,
        simulator_digest=request.simulator_digest,
    )


def summary_of(session: Session, batch: Batch) -> BatchSummary:
    """A batch as lists show it."""
    return BatchSummary.model_validate(_fields(session, batch) | {"progress": _progress(batch)})


def detail_of(session: Session, batch: Batch) -> BatchDetail:
    """A batch with its runs, and its verdict once it is over."""
    verdict = overall(comparisons_of(session, batch)).to_dict() if batch.is_over else None
    return BatchDetail.model_validate(
        _fields(session, batch)
        | {
            "progress": _seen(batches.glance(session, batch.id)),
            "verdict": verdict,
            "runs": [run_summary_of(run) for run in runs.of_batch(session, batch.id)],
        }
    )


def watched(resources: Resources, batch: Batch) -> watching.Source:
    """How a batch is looked at by those who watch it."""
    return watching.Source(
        batch.id,
        look=partial(_look, resources, batch.id),
        steps_after=partial(_steps_after, resources, batch.id),
        told=lambda step, now: _step_event(step, now.progress),
    )


def _look(resources: Resources, batch_id: uuid.UUID, before: watching.Look | None) -> watching.Look:
    with resources.transaction() as session:
        # The state is read first: a batch seen as over has written its last step.
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
        if len(steps) > watching.STEPS_KEPT:
            # Who is that far behind reads for itself.
            steps, known_from = [], newest_id
    now = StepEvent(kind="progress", state=found.state, at=None, progress=_seen(found), detail={})
    return watching.Look(newest_id, now, known_from, tuple(steps))


def _steps_after(resources: Resources, batch_id: uuid.UUID, last_seen: int) -> Sequence[BatchEvent]:
    with resources.transaction() as session:
        return batch_events.after(session, batch_id, last_seen)


def _step_event(step: BatchEvent, now: Progress) -> StepEvent:
    counts = {name: step.body[name] for name in _COUNTS}
    detail = {name: value for name, value in step.body.items() if name not in (*_COUNTS, "state")}
    return StepEvent(
        kind=step.kind,
        state=step.body["state"],
        at=step.created_at,
        progress=_counted(counts, (now.events_done, now.events_total)),
        detail=detail,
    )


def _notice(planned: batches.PlannedBatch, sent_count: int) -> str | None:
    if not planned.created:
        return "an equal batch was under way already: this is that one"
    return _notice_of_broker(len(planned.messages), sent_count)


def _notice_of_broker(message_count: int, sent_count: int) -> str | None:
    if sent_count == message_count:
        return None
    return (
        f"the broker took {sent_count} of {message_count} messages; the batch is "
        "accepted, and the sweep sends the rest when the broker is back"
    )


def _fields(session: Session, batch: Batch) -> dict[str, object]:
    return {
        "id": batch.id,
        "code": batch.code,
        "state": batch.state,
        "plan": batch.plan,
        "recompute": batch.recompute,
        "priority": batch.priority,
        "created_at": batch.created_at,
        "finished_at": batch.finished_at,
        "simulator_digest": batch.simulator_digest,
        "is_stale": simulators.is_stale(session, batch.simulator_digest),
        "integrity_alarms": results.alarm_count(session, batch.id),
        "refused": batch.refused,
        "traces": [TraceReference.model_validate(entry.trace) for entry in batch.traces],
        "patch_sets": [
            PatchSetReference.model_validate(row)
            for row in patch_sets.get_many(
                session, [column.patch_set_id for column in batch.columns]
            )
        ],
        "columns": [Column.model_validate(column) for column in batch.columns],
        "links": {
            "self": f"/api/v1/batches/{batch.code}",
            "events": f"/api/v1/batches/{batch.code}/events",
            "comparison": f"/api/v1/comparisons/{batch.code}",
            "page": f"/batches/{batch.code}",
        },
    }


def _progress(
    batch: Batch | Row[Any], events: tuple[int | None, int | None] = (None, None)
) -> Progress:
    return _counted({name: getattr(batch, name) for name in _COUNTS}, events)


def _seen(glance: Row[Any]) -> Progress:
    return _progress(glance, (int(glance.events_done), int(glance.events_total)))


def _counted(counts: dict[str, int], events: tuple[int | None, int | None]) -> Progress:
    return Progress(
        total=counts["run_count"],
        done=counts["done_count"],
        cached=counts["cached_count"],
        failed=counts["failed_count"],
        cancelled=counts["cancelled_count"],
        finished=counts["done_count"] + counts["failed_count"] + counts["cancelled_count"],
        events_done=events[0],
        events_total=events[1],
    )

"""Rows of batches as JSON documents: in lists, and one in full."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from db.models import Batch
from db.repositories import (
    accounts,
    audits,
    batch_lists,
    batch_search,
    batches,
    comparisons,
    results,
    simulators,
)
from db.repositories.batch_search import Running
from db.repositories.comparisons import TraceName
from db.shards import reopening
from services.api.batches import verdicts
from services.api.batches.provenance import asked_names
from services.api.batches.refusals import refused_variants
from services.api.batches.schemas import (
    Audits,
    BatchContents,
    BatchDetail,
    BatchListed,
    BatchSummary,
    BatchVerdict,
    Pace,
    Progress,
)
from services.api.comparisons.judging import judged, threshold_of

COUNTS = ("run_count", "done_count", "cached_count", "failed_count", "cancelled_count")


def listed(session: Session, rows: Sequence[Batch]) -> list[BatchListed]:
    """Batches as the list has them: with verdict, submitter and pace."""
    if not rows:
        return []
    alarm_counts = results.alarm_counts(session, [row.id for row in rows])
    found = verdicts.kept(session, rows, alarm_counts)
    made_by = accounts.makers(session, rows)
    under_way = batch_search.running(session, [row.id for row in rows if not row.is_over])
    return [
        BatchListed(
            **dict(summary),
            submitted_by=made_by.get(summary.id),
            verdict=_verdict(found.get(summary.id)),
            pace=_pace(under_way.get(summary.id)),
        ).model_copy(update=_replayed(summary.progress, under_way.get(summary.id)))
        for summary in _summaries(session, rows, alarm_counts)
    ]


def _verdict(found: dict[str, Any] | None) -> BatchVerdict | None:
    return None if found is None else BatchVerdict.model_validate(found)


def _pace(under_way: Running | None) -> Pace | None:
    if under_way is None:
        return None
    if not under_way.seconds or not under_way.events_done:
        return Pace(events_per_second=None, seconds_left=None)
    rate = under_way.events_done / under_way.seconds
    left = max(under_way.events_total - under_way.events_done, 0)
    return Pace(events_per_second=rate, seconds_left=left / rate)


def _replayed(progress: Progress, under_way: Running | None) -> dict[str, Progress]:
    if under_way is None:
        return {}
    events = {"events_done": under_way.events_done, "events_total": under_way.events_total}
    return {"progress": progress.model_copy(update=events)}


def _summaries(
    session: Session, rows: Sequence[Batch], alarm_counts: Mapping[uuid.UUID, int]
) -> list[BatchSummary]:
    """Batches as lists show them; the number of queries does not depend on theirs."""
    if not rows:
        return []
    ids = [row.id for row in rows]
    present = simulators.current(session)
    contents = batch_lists.contents(session, ids)
    return [
        BatchSummary.model_validate(
            _own_fields(row)
            | vars(contents[row.id])
            | {
                "is_stale": simulators.is_stale(row.simulators, present),
                "integrity_alarms": alarm_counts.get(row.id, 0),
                "progress": _progress(row),
            }
        )
        for row in rows
    ]


def detail_of(session: Session, batch: Batch) -> BatchDetail:
    """One batch, with its verdict once it is over."""
    traces = comparisons.traces_of(session, batch.id)
    present = simulators.current(session)
    verdict = None
    if batch.is_over:
        found = judged(session, batch, traces, threshold_of(session))
        verdict = BatchVerdict.model_validate(found.overall.to_dict())
        alarm_count = found.alarm_count
    else:
        alarm_count = results.alarm_counts(session, [batch.id]).get(batch.id, 0)
    contents = contents_of(session, batch, traces, present, alarm_count)
    return BatchDetail(**dict(contents), verdict=verdict)


def contents_of(
    session: Session,
    batch: Batch,
    traces: Sequence[TraceName],
    present: Mapping[str, str],
    alarm_count: int,
) -> BatchContents:
    """A batch with its traces, patch sets and columns."""
    sets = batch.patch_sets
    is_stale = simulators.is_stale(batch.simulators, present)
    document = BatchContents.model_validate(
        _own_fields(batch)
        | {
            "is_stale": is_stale,
            "retryable_count": 0
            if is_stale
            else reopening.retryable_count(session, batch, refused_variants),
            "integrity_alarms": alarm_count,
            "trace_count": len(traces),
            "column_count": len(batch.columns),
            "patch_set_count": len(sets),
            "traces": traces,
            "patch_sets": sets,
            "columns": batch.columns,
            "refused": batch.refused,
            "progress": progress_of(batches.glance(session, batch.id)),
            "audits": _audits(session, batch, traces),
        }
    )
    names = asked_names(batch.plan, batch.columns, {row.id: row for row in sets})
    for column, name in zip(document.columns, names, strict=True):
        column.variant = column.variant.model_copy(update={"name": name})
    return document


def _audits(session: Session, batch: Batch, traces: Sequence[TraceName]) -> Audits | None:
    found = audits.progress(session, batch, traces)
    if found is None:
        return None
    return Audits(level=str(batch.audit_level), **found._asdict())


def progress_of(glance: Row[Any]) -> Progress:
    """The progress of a batch, in runs and events."""
    return _progress(glance, (int(glance.events_done), int(glance.events_total)))


def counted(counts: dict[str, int], events: tuple[int | None, int | None]) -> Progress:
    """Counts of a batch as its progress."""
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


def _progress(
    batch: Batch | Row[Any], events: tuple[int | None, int | None] = (None, None)
) -> Progress:
    return counted({name: getattr(batch, name) for name in COUNTS}, events)


def _own_fields(batch: Batch) -> dict[str, object]:
    return {
        "id": batch.id,
        "code": batch.code,
        "title": batch.title,
        "state": batch.state,
        "plan": batch.plan,
        "recompute": batch.recompute,
        "priority": batch.priority,
        "created_at": batch.created_at,
        "finished_at": batch.finished_at,
        "simulator_digest": batch.simulator_digest,
        "simulators": batch.simulators,
        "links": {
            "self": f"/api/v1/batches/{batch.code}",
            "runs": f"/api/v1/batches/{batch.code}/runs",
            "events": f"/api/v1/batches/{batch.code}/events",
            "comparison": f"/api/v1/comparisons/{batch.code}",
            "page": f"/batches/{batch.code}",
        },
    }

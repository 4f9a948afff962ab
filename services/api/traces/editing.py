"""Metadata of traces; changes and deletion, by users and by retention rules."""

import dataclasses
import hashlib
import itertools
import logging
import uuid

from sqlalchemy.orm import Session

from db import orphans
from db.errors import Conflict
from db.models import Trace
from db.repositories import files, placements, trace_deletion, traces
from db.session import transaction
from db.shards import throughput
from refault.errors import NotFound, Unavailable
from services.api.callers import Caller
from services.api.deps import Resources
from services.api.refusals import VersionMismatch
from services.api.traces.schemas import TraceChanges, TraceDeletion, TraceDetail, TraceSummary

LISTED_CHARACTERS_MAX = 200
LISTED_WORDS_MAX = 20

_log = logging.getLogger("refault.api")


def describe(session: Session, row: Trace) -> TraceDetail:
    """The trace, with the estimated cost of a replay."""
    detail = TraceDetail.model_validate(row)
    speed = throughput.lately(session)
    if speed is not None:
        seconds = row.work / speed.events_per_second
        detail.estimated_variant_seconds = float(f"{seconds:.3g}")
    return detail


def listed(row: Trace) -> TraceSummary:
    """The trace as lists show it, shortened so that a page stays small."""
    summary = TraceSummary.model_validate(row)
    words = itertools.islice(summary.guest.items(), LISTED_WORDS_MAX)
    marks = [
        mark.model_copy(update={"meaning": _cut(mark.meaning)})
        for mark in summary.statistics.marks[:LISTED_WORDS_MAX]
    ]
    return summary.model_copy(
        update={
            "name": _cut(summary.name),
            "note": _cut(summary.note),
            "guest": {_cut(key): _cut(value) for key, value in words},
            "statistics": summary.statistics.model_copy(
                update={"marks": marks, "makeup": None, "working_set": None}
            ),
        }
    )


def _cut(text: str) -> str:
    return text if len(text) <= LISTED_CHARACTERS_MAX else text[: LISTED_CHARACTERS_MAX - 1] + "…"


def version(detail: TraceDetail) -> str:
    """The ETag, which differs whenever the answer does."""
    return hashlib.sha256(detail.model_dump_json().encode()).hexdigest()[:32]


def change(
    resources: Resources, name: str, changes: TraceChanges, if_match: str | None
) -> TraceDetail:
    """Change the metadata of a trace. Without ``if_match`` the last change wins.

    Raises VersionMismatch if the trace is no longer the one the caller saw.
    """
    with resources.transaction() as session:
        row = traces.get(session, name)
        session.refresh(row, with_for_update=True)
        if if_match is not None and if_match.strip() != "*":
            known = {entry.strip().removeprefix("W/").strip('"') for entry in if_match.split(",")}
            if version(describe(session, row)) not in known:
                raise VersionMismatch(f"trace {name} has changed: get it again")
        given = {key: value for key, value in changes if value is not None}
        if "tags" in given:
            given["tags"] = list(dict.fromkeys(given["tags"]))
        traces.change(session, row, **given)
        return describe(session, row)


def as_uploaded(trace: TraceDetail) -> TraceDetail:
    """The trace without its metadata, for callers that may not read it."""
    return trace.model_copy(
        update={
            "name": trace.header.get("name") or trace.digest[:12],
            "guest": trace.header.get("guest") or {},
            "tags": [],
            "note": "",
        }
    )


def delete(
    resources: Resources, caller: Caller, name: str, *, cascade: bool, dry_run: bool
) -> TraceDeletion:
    """Delete a trace with everything only it uses, or list what that would be.

    Raises:
        Forbidden: a caller without `admin` has not uploaded it, or ``cascade`` would delete
            batches; or the caller may not read, for a dry run.
        Conflict: see ``trace_deletion.delete``.
    """
    if dry_run:
        caller.check_has("read", "a dry run")
        with resources.transaction() as session:
            taken = trace_deletion.preview(session, traces.get(session, name))
        snapshot_count = len(resources.snapshots.of_shards(taken.shard_ids))
        return _told(taken, snapshot_count, deleted=False)
    if cascade:
        caller.check_has("admin", "?cascade=true, which also deletes batches,")
    with resources.transaction() as session:
        row = traces.get(session, name)
        caller.check_own(row, f"trace {row.digest[:12]}")
    try:
        taken, snapshot_count = _delete(resources, name, cascade=cascade)
    except Conflict:
        if "read" in caller.scopes:
            raise
        # A caller without `read` must not learn the batches' names.
        raise Conflict(f"trace {row.digest[:12]} is part of batches: it is kept") from None
    return _told(taken, snapshot_count, deleted=True)


def apply_retention(resources: Resources) -> int:
    """Delete the traces expired by retention rules, in all projects; returns how many."""
    with transaction(resources.engine) as session:
        found = trace_deletion.overdue(session)
    deleted_count = 0
    for project_id, trace_id in found:
        owner = dataclasses.replace(resources, project_id=project_id)
        try:
            taken, _ = _delete(owner, trace_id, cascade=False)
        except (Conflict, NotFound):
            continue  # Used or deleted since it was found.
        except Unavailable as error:
            # The next sweep retries it; the others go ahead.
            _log.warning(
                "retention: trace %s of project %s is kept: %s", trace_id, project_id, error
            )
            continue
        deleted_count += 1
        _log.info(
            "retention: trace %s (%s) of project %s deleted, %d bytes freed",
            taken.name,
            taken.digest[:12],
            project_id,
            taken.size_bytes,
        )
    return deleted_count


def _delete(
    resources: Resources, name: str | uuid.UUID, *, cascade: bool
) -> tuple[trace_deletion.Deletion, int]:
    """Deletes rows and files; how many, and how many snapshots. No lock is held for files."""
    with resources.transaction() as session:
        taken = trace_deletion.check(session, traces.get(session, name), cascade=cascade)
    # Before the rows: a lost snapshot costs work, one without a row would never be deleted.
    try:
        snapshot_count = resources.snapshots.erase(taken.shard_ids)
    except OSError as error:
        raise Unavailable(
            f"the files of trace {taken.digest[:12]} cannot be removed: {error.strerror or error}"
        ) from error
    removal = None
    with resources.transaction() as session:
        row = traces.get(session, taken.trace_id)
        files.lock_digest(session, row.digest)
        taken = trace_deletion.delete(session, row, cascade=cascade)
        session.flush()
        if taken.is_last:
            removal = placements.begin_removal(session, taken.digest)
    if removal is not None:
        try:
            orphans.finish(resources.engine, resources.blobs, removal, taken.digest)
        except (OSError, Unavailable) as error:
            # The trace is deleted anyway; the sweep removes the recorded file.
            _log.warning("the file of trace %s is removed later: %s", taken.digest[:12], error)
    return taken, snapshot_count


def _told(taken: trace_deletion.Deletion, snapshot_count: int, *, deleted: bool) -> TraceDeletion:
    return TraceDeletion(
        trace=uuid.UUID(str(taken.trace_id)),
        digest=taken.digest,
        deleted=deleted,
        blob=True,
        size_bytes=taken.size_bytes,
        batches=list(taken.batches),
        shortened_batches=list(taken.shortened_batches),
        run_count=taken.run_count,
        result_count=taken.result_count,
        snapshot_count=snapshot_count,
    )

"""Verdicts of batches that are over, kept beside them for lists.

A verdict is judged once for its key: the end of the batch, its integrity alarms and audits, the
project's thresholds, and the rules themselves. A list judges a few cells of what has none; the
rest is judged by housekeeping, and has none until then.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

import refault.compare
from db.models import Batch
from db.repositories import batch_verdicts, comparisons, results
from db.session import transaction
from refault.compare import Threshold
from refault.errors import ResultError
from services.api.comparisons.judging import judged, threshold_of
from services.api.deps import Resources

_log = logging.getLogger(__name__)

CELLS_AT_ONCE = 2_000
"""A list judges no more than this: some tens of milliseconds."""
BATCHES_AT_ONCE = 20


def kept(
    session: Session,
    rows: Sequence[Batch],
    alarm_counts: Mapping[uuid.UUID, int],
    *,
    cells_max: int | None = CELLS_AT_ONCE,
) -> dict[uuid.UUID, dict[str, Any]]:
    """The verdicts of those of the batches that are over, by id, as JSON with one reason.

    Judges ``cells_max`` cells at most; None: as many as there are. The others are missing.
    """
    over = [row for row in rows if row.is_over]
    if not over:
        return {}
    threshold = threshold_of(session)
    audit_counts = batch_verdicts.audit_counts(
        session, [row.id for row in over if row.audit_level is not None]
    )
    found = {}
    for row in over:
        key = _key(row, threshold, alarm_counts.get(row.id, 0), audit_counts.get(row.id, 0))
        verdict = row.verdict
        if row.verdict_key != key:
            cell_count = max(row.run_count, 1)
            if cells_max is not None and cell_count > cells_max:
                # None from now on, so that housekeeping finds it.
                _forget(session, row)
                continue
            cells_max = None if cells_max is None else cells_max - cell_count
            verdict = _judge(session, row, threshold)
            batch_verdicts.keep(session, row.id, verdict, key)
        if verdict is not None:
            found[row.id] = verdict
    return found


def judge_waiting(resources: Resources) -> int:
    """Judge the newest batches of all projects that are over and have no verdict; how many."""
    with transaction(resources.engine) as session:
        waiting = [
            (row.id, row.project_id) for row in batch_verdicts.without(session, BATCHES_AT_ONCE)
        ]
    for batch_id, project_id in waiting:
        with transaction(resources.engine, project_id) as session:
            row = session.get(Batch, batch_id)
            if row is not None:
                kept(session, [row], results.alarm_counts(session, [row.id]), cells_max=None)
    return len(waiting)


def _judge(session: Session, row: Batch, threshold: Threshold) -> dict[str, Any] | None:
    if not row.columns:
        return None
    traces = comparisons.traces_of(session, row.id)
    try:
        verdict = judged(session, row, traces, threshold).overall.to_dict()
    except ResultError as error:
        # Its own page fails loudly; the lists it stands in, and the batches after it, do not.
        _log.warning("batch %s cannot be judged: %s", row.code, error)
        return None
    return verdict | {"reasons": verdict["reasons"][:1]}


def _forget(session: Session, row: Batch) -> None:
    if row.verdict_key is not None:
        batch_verdicts.keep(session, row.id, None, None)


def _key(row: Batch, threshold: Threshold, alarm_count: int, audit_count: int) -> str:
    told = (
        _rules(),
        sorted(threshold.limits.items()),
        row.finished_at,
        (row.run_count, row.done_count, alarm_count, audit_count),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@cache
def _rules() -> str:
    """The digest of the rules: other rules give other verdicts."""
    digest = hashlib.sha256()
    for path in sorted(Path(refault.compare.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()

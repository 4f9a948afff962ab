"""Rows of runs as documents."""

import hashlib
from collections.abc import Callable, Sequence

import msgpack
from sqlalchemy.orm import Session

from db.models import Run
from db.repositories import documents, runs, simulators
from refault.attribution import attribution_key
from refault.documents import DocumentKey
from refault.errors import NotFound
from refault.lineage import names_of
from refault.timeline import timeline_key
from services.api.runs.place import place_of
from services.api.runs.schemas import RunAttribution, RunDetail, RunSummary, RunTimeline


def summaries_of(session: Session, rows: Sequence[Run]) -> list[RunSummary]:
    """Runs as a batch lists them; as many queries for all of them as for one."""
    alarmed = runs.alarmed(session, [row.id for row in rows])
    return [
        RunSummary.model_validate(_fields(row) | {"has_integrity_alarm": row.id in alarmed})
        for row in rows
    ]


def detail_of(session: Session, run: Run) -> RunDetail:
    """A run with its result, its place in its batch, and how it came by the result."""
    result = run.result
    alarm = result and result.integrity_alarm
    simulator_digest = runs.simulator_of(run)
    return RunDetail.model_validate(
        _fields(run)
        | place_of(session, run)
        | {
            "worker": result and result.worker,
            "attempt": run.shard and run.shard.attempt,
            "started_at": run.shard and run.shard.started_at,
            "computed_at": result and result.created_at,
            "crash": result and result.crash,
            "has_integrity_alarm": alarm is not None,
            "simulator_digest": simulator_digest,
            "is_stale": simulators.is_stale(
                {run.variant.engine: simulator_digest}, simulators.current(session)
            ),
            "result": result and result.body,
            "result_digest": result and result.body_digest,
            "integrity_alarm": alarm,
        }
    )


def timeline_of(session: Session, run: Run) -> RunTimeline:
    """The run's timeline; raises NotFound."""
    return RunTimeline.model_validate(_document(session, run, "timeline", timeline_key))


def attribution_of(session: Session, run: Run) -> RunAttribution:
    """The run's attribution; raises NotFound."""
    return RunAttribution.model_validate(_document(session, run, "attribution", attribution_key))


def _document(
    session: Session, run: Run, kind: str, key_of: Callable[[str, str, str], DocumentKey]
) -> dict[str, object]:
    """A document beside a run's result.

    Raises:
        NotFound: it has none, with the reason.
    """
    # Before the document is looked for: that another project's run has one must not show.
    if run.result is None:
        raise NotFound(f"run {run.id} is {run.state}: its {kind} comes with its result")
    place = (run.trace.digest, run.variant_digest)
    keys = [key_of(*place, name).digest for name in names_of(runs.simulator_of(run))]
    bodies = documents.bodies(session, keys)
    for key in keys:
        if key in bodies:
            digest = hashlib.sha256(bodies[key]).hexdigest()
            return {"key": key, "digest": digest, kind: msgpack.unpackb(bodies[key])}
    if run.state == "crashed":
        raise NotFound(f"run {run.id} crashed the simulator: it has no {kind}")
    raise NotFound(
        f"run {run.id} has no {kind}: its result was computed by a release without; "
        "`refault profile` makes one from the trace"
    )


def _fields(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "batch_id": run.batch_id,
        "trace_id": run.trace_id,
        "trace_digest": run.trace.digest,
        "variant": run.variant,
        "state": run.state,
        "error": run.error,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }

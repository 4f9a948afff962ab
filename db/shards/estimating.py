"""What a batch would cost, before it is planned: cells, bytes and seconds. Writes nothing."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Shard
from db.repositories import simulators
from db.shards import cutting, planning, states, throughput
from db.shards.planning import Request


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a request comes to at this moment.

    ``seconds`` is None where nothing is known or nobody works; ``basis`` says
    in a sentence what it rests on. ``bytes_to_read``: every shard reads its
    trace once. ``work``: about as many ordinary events all of it weighs; ``memory_bytes``:
    what one of the runs holds at least. ``queued_ahead_count``: shards of the project that wait
    already; they are not part of ``seconds``.
    """

    run_count: int
    cached_count: int
    to_run_count: int
    shard_count: int
    worker_count: int
    bytes_to_read: int
    events_to_replay: int
    work: int
    memory_bytes: int
    queued_ahead_count: int
    seconds: float | None
    basis: str


def estimate(session: Session, request: Request) -> Estimate:
    """What the request would cost now."""
    known = planning.find_known(session, request)
    each = [
        (trace, variants)
        for trace in request.traces
        for variants in request.variants_by_engine.values()
    ]
    # How many events each trace weighs, and how many runs of it under an engine have no result yet.
    parts = [
        (trace.work, sum((trace.digest, variant) not in known for variant in variants))
        for trace, variants in each
    ]
    digests = request.simulators.values()
    worker_count = simulators.worker_count(session, digests)
    shard_counts = cutting.shards_per_part(parts, worker_count)
    work = sum(weight * runs for weight, runs in parts)
    longest = max(
        (
            weight * -(-runs // shard_count)
            for (weight, runs), shard_count in zip(parts, shard_counts, strict=True)
            if shard_count
        ),
        default=0,
    )
    seconds, basis = _seconds(work, longest, worker_count, throughput.lately(session, digests))
    to_run_count = sum(runs for _, runs in parts)
    return Estimate(
        run_count=request.run_count,
        cached_count=request.run_count - to_run_count,
        to_run_count=to_run_count,
        shard_count=sum(shard_counts),
        worker_count=worker_count,
        bytes_to_read=sum(
            trace.size_bytes * shard_count
            for (trace, _), shard_count in zip(each, shard_counts, strict=True)
        ),
        events_to_replay=sum(
            trace.event_count * runs for (trace, _), (_, runs) in zip(each, parts, strict=True)
        ),
        work=work,
        memory_bytes=max((trace.memory_bytes for trace in request.traces), default=0),
        queued_ahead_count=_queued_count(session),
        seconds=seconds,
        basis=basis,
    )


def _queued_count(session: Session) -> int:
    query = sa.select(sa.func.count()).select_from(Shard).where(Shard.state == states.QUEUED)
    return session.scalar(query) or 0


def _seconds(
    work: int, longest: int, worker_count: int, known: throughput.Throughput | None
) -> tuple[float | None, str]:
    """All work divided by the workers, but no less than the longest shard takes."""
    if not work:
        return 0.0, "every result is known: nothing is simulated"
    if known is None:
        return None, "nothing is known yet: no result of this simulator has been recorded"
    if not worker_count:
        return None, "no worker with this simulator is alive; the batch would wait for one"
    per_worker = max(work / worker_count, longest)
    return per_worker / known.events_per_second, (
        f"the last shards replayed {known.events_per_second:,.0f} events of a"
        f" variant a second per worker; {worker_count} workers are alive"
    )

"""Estimate of a batch before it is planned: cells, bytes and seconds. Writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from db.repositories import simulators
from db.shards import cutting, planning, sweeping, throughput
from db.shards.planning import Request


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimate of a request, as of now.

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


class _Piece(NamedTuple):
    """The open runs of one trace under one engine; ``work`` is that of one run, in events."""

    engine: str
    work: int
    runs: int
    shard_count: int


def estimate(session: Session, request: Request) -> Estimate:
    """Estimate the request."""
    settled = {*planning.find_known(session, request), *request.unrunnable}
    each = [
        (trace, engine, variants)
        for trace in request.traces
        for engine, variants in request.variants_by_engine.items()
    ]
    # How many events each trace weighs, and how many runs of it an engine still has to make.
    parts = [
        (trace.work, sum((trace.digest, variant) not in settled for variant in variants))
        for trace, _, variants in each
    ]
    worker_count = simulators.worker_count(session, request.simulators.values())
    shard_counts = cutting.shards_per_part(parts, worker_count)
    pieces = [
        _Piece(engine, weight, runs, shard_count)
        for (_, engine, _), (weight, runs), shard_count in zip(
            each, parts, shard_counts, strict=True
        )
        if runs
    ]
    # One engine replays several times as many events a second as another.
    speeds = {
        engine: throughput.lately(session, [request.simulators[engine]])
        for engine in dict.fromkeys(piece.engine for piece in pieces)
    }
    seconds, basis = _seconds(pieces, speeds, worker_count)
    to_run_count = sum(runs for _, runs in parts)
    return Estimate(
        run_count=request.run_count,
        cached_count=request.run_count - to_run_count - len(request.unrunnable),
        to_run_count=to_run_count,
        shard_count=sum(shard_counts),
        worker_count=worker_count,
        bytes_to_read=sum(
            trace.size_bytes * shard_count
            for (trace, _, _), shard_count in zip(each, shard_counts, strict=True)
        ),
        events_to_replay=sum(
            trace.event_count * runs for (trace, _, _), (_, runs) in zip(each, parts, strict=True)
        ),
        work=sum(weight * runs for weight, runs in parts),
        memory_bytes=max((trace.memory_bytes for trace in request.traces), default=0),
        queued_ahead_count=sweeping.queued_count(session),
        seconds=seconds,
        basis=basis,
    )


def _seconds(
    pieces: Sequence[_Piece],
    speeds: Mapping[str, throughput.Throughput | None],
    worker_count: int,
) -> tuple[float | None, str]:
    """All work divided by the workers, but no less than the longest shard takes."""
    if not pieces:
        return 0.0, "every result is known: nothing is simulated"
    if unknown := [engine for engine, speed in speeds.items() if speed is None]:
        return (
            None,
            f"nothing is known yet: no result of {_simulators_of(unknown)} has been recorded",
        )
    if not worker_count:
        return None, f"no worker with {_simulators_of(speeds)} is alive; the batch would wait"
    known = {engine: speed.events_per_second for engine, speed in speeds.items() if speed}
    total = sum(piece.work * piece.runs / known[piece.engine] for piece in pieces)
    longest = max(
        piece.work * -(-piece.runs // piece.shard_count) / known[piece.engine] for piece in pieces
    )
    told = " and ".join(f"{speed:,.0f} events under {engine}" for engine, speed in known.items())
    return max(total / worker_count, longest), (
        f"the last shards replayed, of a variant a second per worker, {told}; "
        f"{worker_count} workers are alive"
    )


def _simulators_of(engines: Iterable[str]) -> str:
    return "the present simulator of " + " and ".join(engines)

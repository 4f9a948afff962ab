"""How open runs are cut into shards: few decodings of a trace, and no idle worker."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from db.identifiers import uuid7
from db.models import Batch, Run, Shard, Trace

VARIANTS_PER_SHARD_MAX = 8
"""One decoding serves this many variants; snapshots bound what a lost worker costs."""

DECODING_RUNS = 1
"""What fetching and decoding a trace for a shard costs, in simulations of it under one machine.

Measured, it is 0.4 (decoding alone) to 1.1 (all that a shard costs beside its runs).
"""

PORTIONS_MAX = 4
"""Into how many shards the work of one worker may be cut, so that all finish together."""


class Part(NamedTuple):
    """Open runs of one trace under one engine: what is cut into shards."""

    trace: Trace
    engine: str
    runs: list[Run]


def shards_per_part(parts: Sequence[tuple[int, int]], worker_count: int) -> list[int]:
    """Into how many shards each part is cut; ``parts``: (events, open runs) of each.

    A shard decodes its trace once for all its runs, at most :data:`VARIANTS_PER_SHARD_MAX`. So
    few shards cost least, but the batch ends with its last worker. Of some ways to cut, from one
    portion of the work a worker to :data:`PORTIONS_MAX`, that one is taken by which the last
    worker would end first; of those that end together the one with the fewest shards.

    With 4 workers, one trace under 4 machines makes four shards of one run, eight such traces
    make one shard each; with 2 workers, three traces under 8 machines make two shards each.
    """
    # Where nobody lives, one will come.
    worker_count = max(1, worker_count)
    work = sum(events * runs for events, runs in parts)
    ways = [_counts(parts, work, worker_count * portion) for portion in range(1, PORTIONS_MAX + 1)]
    # Of many traces, most ways cut none: each is looked at once.
    distinct = dict.fromkeys(map(tuple, ways))
    best = min(distinct, key=lambda counts: (_end(parts, counts, worker_count), sum(counts)))
    return list(best)


def cut(
    session: Session,
    batch: Batch,
    parts: Sequence[Part],
    *,
    worker_count: int,
    now: datetime.datetime,
) -> list[Shard]:
    """Shards of the open runs; they are taken in order, so the largest come first."""
    sizes = [(part.trace.work, len(part.runs)) for part in parts]
    counts = shards_per_part(sizes, worker_count)
    pieces = [
        part._replace(runs=part.runs[index::count])
        for part, count in zip(parts, counts, strict=True)
        for index in range(count)
    ]
    pieces.sort(key=lambda piece: _cost(piece.trace.work, len(piece.runs)), reverse=True)
    shards = [_shard_of(batch, piece, now) for piece in pieces]
    # Without the session's bookkeeping, which would take as long again as the database.
    session.bulk_save_objects(shards)
    for shard, piece in zip(shards, pieces, strict=True):
        for run in piece.runs:
            run.shard_id = shard.id
    return shards


def _counts(parts: Sequence[tuple[int, int]], work: int, portions: int) -> list[int]:
    """As few shards as possible, none larger than a portion of the work or the maximum."""
    counts = []
    for events, runs in parts:
        fair = -(-events * runs * portions // work) if work else 0
        counts.append(min(runs, max(-(-runs // VARIANTS_PER_SHARD_MAX), fair)))
    return counts


def _end(parts: Sequence[tuple[int, int]], counts: Sequence[int], worker_count: int) -> int:
    """When the last worker finishes, if each takes the largest remaining shard when it is free."""
    costs = [
        _cost(events, len(range(index, runs, count)))
        for (events, runs), count in zip(parts, counts, strict=True)
        for index in range(count)
    ]
    ends = [0] * min(worker_count, len(costs))
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends, default=0)


def _cost(events: int, runs: int) -> int:
    return events * (runs + DECODING_RUNS)


def _shard_of(batch: Batch, piece: Part, now: datetime.datetime) -> Shard:
    return Shard(
        id=uuid7(),
        project_id=batch.project_id,
        batch_id=batch.id,
        trace_id=piece.trace.id,
        simulator_digest=batch.other_simulators.get(piece.engine),
        state="queued",
        attempt=1,
        lost_count=0,
        events_done=0,
        events_total=piece.trace.event_count,
        # The caller publishes right after the commit; the sweep looks after what it lost.
        published_at=now,
    )

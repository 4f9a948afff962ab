"""Operational figures: tallies, the queue, recent throughput."""

from __future__ import annotations

import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import KernelBuild, Question, Result, Shard, Tally, Trace, Variant, WebhookDelivery

LATELY_SECONDS = 3600
"""The span over which the speed of replays is averaged."""

LEASES_EXPIRED = "leases_expired"
RESULTS_DROPPED = "results_dropped"
MESSAGES_DROPPED = "messages_dropped"
UPLOADED_BYTES = "uploaded_bytes"
UPLOADS = "uploads"
INTEGRITY_ALARMS = "integrity_alarms"

TALLIES = {
    LEASES_EXPIRED: "Shards taken from a worker without a heartbeat",
    RESULTS_DROPPED: "Results dropped because the shard had another worker by then",
    MESSAGES_DROPPED: "Messages that found no queued shard",
    UPLOADED_BYTES: "Bytes of stored traces",
    UPLOADS: "Stored traces",
    INTEGRITY_ALARMS: "Results that had other bytes when computed again",
}
"""Every tally there is, with what it counts."""


def count(session: Session, name: str, by: int = 1) -> None:
    """Add to a tally, in the transaction of what is counted.

    The tally's row stays locked until the commit, so call this last.
    """
    statement = insert(Tally).values(name=name, value=by)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Tally.name], set_={"value": Tally.value + statement.excluded.value}
        )
    )


def tallies(session: Session) -> dict[str, int]:
    """Every tally; 0 if never counted."""
    known = {row.name: row.value for row in session.scalars(sa.select(Tally))}
    return {name: known.get(name, 0) for name in TALLIES}


def open_by_state(session: Session, kind: type[Shard | KernelBuild | Question]) -> dict[str, int]:
    """How many rows of work are queued and how many are running."""
    query = (
        sa.select(kind.state, sa.func.count().label("number"))
        .where(kind.state.in_(("queued", "running")))
        .group_by(kind.state)
    )
    found = {row.state: row.number for row in session.execute(query)}
    return {state: found.get(state, 0) for state in ("queued", "running")}


_ESTIMATED_FROM = 10_000


class Queue(NamedTuple):
    """The open rows of one kind of work. ``overdue`` are running behind the end of their lease."""

    queued: int
    running: int
    overdue: int
    oldest_queued_at: datetime.datetime | None


def queue_of(session: Session, kind: type[Shard | KernelBuild | Question]) -> Queue:
    """How much of one kind of work is open, in all projects."""
    is_queued, is_running = kind.state == "queued", kind.state == "running"
    query = sa.select(
        sa.func.count().filter(is_queued),
        sa.func.count().filter(is_running),
        sa.func.count().filter(is_running, kind.lease_until < sa.func.now()),
        sa.func.min(kind.created_at).filter(is_queued),
    ).where(kind.state.in_(("queued", "running")))
    return Queue(*session.execute(query).one())


class Stored(NamedTuple):
    """What is stored, in all projects; a trace of two projects is one file."""

    traces: int
    trace_bytes: int
    results: int
    database_bytes: int


def stored(session: Session) -> Stored:
    """Counts and sizes; large numbers of results are estimates."""
    once = sa.select(Trace.digest, sa.func.max(Trace.size_bytes).label("size")).group_by(
        Trace.digest
    )
    files = once.subquery()
    count, size = session.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(files.c.size), 0)).select_from(
            files
        )
    ).one()
    # Counting a million rows takes seconds, and nobody needs them exactly.
    results = session.scalar(
        sa.text("SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE relname = 'results'")
    )
    # A young table was never analysed, and few rows are counted at once.
    if (results or 0) < _ESTIMATED_FROM:
        results = session.scalar(sa.select(sa.func.count()).select_from(Result))
    database = session.scalar(sa.select(sa.func.pg_database_size(sa.func.current_database())))
    return Stored(int(count), int(size), int(results or 0), int(database or 0))


def events_per_second(session: Session) -> dict[tuple[str, str], float]:
    """Events replayed per second over the last hour, by (digest, name) of the variant.

    Variants that were not replayed in that time are missing.
    """
    oldest = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, LATELY_SECONDS)
    # Not from the bodies: unpacking those of a million results takes seconds.
    length = (
        sa.select(Trace.digest, sa.func.max(Trace.event_count).label("events"))
        .group_by(Trace.digest)
        .subquery()
    )
    query = (
        sa.select(
            Result.variant_digest,
            sa.func.coalesce(Variant.name, ""),
            sa.func.sum(length.c.events),
        )
        .join(length, length.c.digest == Result.trace_digest)
        .outerjoin(Variant, Variant.digest == Result.variant_digest)
        .where(Result.created_at > oldest, Result.outcome == "complete")
        .group_by(Result.variant_digest, Variant.name)
    )
    return {
        (digest, name): int(number) / LATELY_SECONDS
        for digest, name, number in session.execute(query)
    }


def deliveries_by_state(session: Session) -> dict[str, int]:
    """How many webhook messages wait, were delivered, or were given up."""
    query = sa.select(WebhookDelivery.state, sa.func.count().label("number")).group_by(
        WebhookDelivery.state
    )
    found = {row.state: row.number for row in session.execute(query)}
    return {state: found.get(state, 0) for state in ("waiting", "delivered", "given_up")}

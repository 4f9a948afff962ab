"""The sweep: requeues lost shards, resends lost messages. Any number may run at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from db import builds, leased, questions
from db.repositories import findings, results
from db.session import transaction
from db.shards import leases, reopening, snapshots, sweeping
from db.shards.messages import Message, ShardMessage
from refault.errors import RefaultError, Unavailable
from services.shared import logs
from worker import stderr
from worker.resources import Resources

_log = logging.getLogger(__name__)

YOUNG_SECONDS = 60

FACTS_ROUNDS = 4

BATCHES_PER_SWEEP = 20
"""A bound, so that newly abandoned shards do not wait for a whole backlog."""


def sweep(resources: Resources, *, waiting_message_count: int) -> list[ShardMessage]:
    """Requeues abandoned shards and resends lost messages; returns what was sent.

    ``waiting_message_count``: how many messages wait in the queue of shards.
    Messages older than ``resend_seconds`` are resent only if there are fewer
    messages than queued rows, so that a long queue does not grow with every sweep.
    """
    sent: list[ShardMessage] = []
    duties: tuple[Callable[[], list[ShardMessage]], ...] = (
        lambda: _hand_on(resources),
        lambda: _move_on(resources),
        lambda: _remove_snapshots(resources),
        lambda: _send_again(resources, waiting_message_count),
        lambda: _send_builds_again(resources),
        lambda: _send_questions_again(resources),
        lambda: _forget_looks(resources),
        lambda: _add_facts(resources),
        lambda: _file_findings(resources),
    )
    for duty in duties:
        try:
            sent += duty()
        except (RefaultError, OSError) as error:
            # A failing duty is retried by the next sweep; the others go ahead.
            _log.warning("a part of the sweep was interrupted: %s", error)
    return sent


def _add_facts(resources: Resources) -> list[ShardMessage]:
    """Adds facts to results of earlier releases, some thousand per sweep."""
    after = None
    for _ in range(FACTS_ROUNDS):
        with transaction(resources.engine) as session:
            after = results.add_facts(session, after=after)
        if after is None:
            break
    return []


def _file_findings(resources: Resources) -> list[ShardMessage]:
    """Files the findings of results and audits of earlier releases, some thousand per sweep."""
    for _ in range(FACTS_ROUNDS):
        with transaction(resources.engine) as session:
            filed = findings.file_results(session) + findings.file_audits(session)
        if not filed:
            break
    return []


def _send_builds_again(resources: Resources) -> list[ShardMessage]:
    """Requeues abandoned builds, and resends messages of those that nobody has taken."""
    return _hand_on_rows(resources, builds.QUEUE, builds.take_from_lost)


def _send_questions_again(resources: Resources) -> list[ShardMessage]:
    """The same for questions."""
    return _hand_on_rows(resources, questions.QUEUE, questions.take_from_lost)


def _forget_looks(resources: Resources) -> list[ShardMessage]:
    with transaction(resources.engine) as session:
        count = questions.forget(session)
    if count:
        _log.info("%d old questions deleted", count)
    return []


def _hand_on_rows(
    resources: Resources,
    queue: leased.Queue[Any],
    take_from_lost: Callable[[Session, leased.RowFence], Message | None],
) -> list[ShardMessage]:
    with transaction(resources.engine) as session:
        found = queue.abandoned(session)
    messages: list[Message | None] = []
    for fence in found:
        with transaction(resources.engine) as session:
            messages.append(take_from_lost(session, fence))
    with transaction(resources.engine) as session:
        messages += queue.stale(session, older_than_seconds=resources.settings.resend_seconds)
    resources.publish(list(dict.fromkeys(message for message in messages if message is not None)))
    return []


def _send_again(resources: Resources, waiting_message_count: int) -> list[ShardMessage]:
    with transaction(resources.engine) as session:
        if sweeping.queued_count(session) <= waiting_message_count:
            return []
        lost = sweeping.stale_messages(
            session, older_than_seconds=resources.settings.resend_seconds
        )
    if lost:
        _log.info("%d messages sent again", len(lost))
        resources.publish(lost)
    return lost


def _move_on(resources: Resources) -> list[ShardMessage]:
    """Moves batches whose simulator no worker has any more to the current one, one by one."""
    messages: list[ShardMessage] = []
    for _ in range(BATCHES_PER_SWEEP):
        with transaction(resources.engine) as session:
            found = sweeping.orphan(session)
            if found is None:
                break
            batch, successors = found
            code = batch.code
            moves = [
                f"{digest[:12]} of {engine}: nobody has {batch.simulator_of(engine)[:12]}"
                for engine, digest in successors.items()
            ]
            waiting = reopening.move_on(session, batch, successors)
        _log.warning("batch %s goes on with %s", code, "; ".join(moves))
        messages += waiting
        resources.publish(waiting)
    return messages


def _remove_snapshots(resources: Resources) -> list[ShardMessage]:
    """Removes snapshots that no attempt will resume from; sends nothing.

    A new one may not be registered yet, so young ones are kept.
    """
    try:
        kept = list(resources.snapshots.kept())
    except (OSError, Unavailable) as error:
        _log.warning("no look at the snapshots: %s", error)
        return []
    if kept:
        with transaction(resources.engine) as session:
            wanted = snapshots.wanted(session, {each.shard_id for each in kept})
        for each in kept:
            if wanted.get(each.shard_id) != each.seal and each.age_seconds > YOUNG_SECONDS:
                resources.snapshots.remove(each.shard_id, each.seal)
    resources.snapshots.sweep_incoming()
    return []


def _hand_on(resources: Resources) -> list[ShardMessage]:
    with transaction(resources.engine) as session:
        found = sweeping.abandoned(session)
    messages = []
    for entry in found:
        try:
            message = _take_from_lost(resources, entry)
        except RefaultError as error:
            # The next sweep retries it; the others go ahead.
            _log.warning("shard %s is not handed on: %s", entry.fence.shard_id, error)
            continue
        if message is not None:
            messages.append(message)
    if messages:
        resources.publish(messages)
    return messages


def _take_from_lost(resources: Resources, entry: sweeping.Abandoned) -> ShardMessage | None:
    tail = stderr.take_tail(resources.attempts, entry.fence)
    reason = f"worker {entry.worker} was not heard of any more"
    with transaction(resources.engine) as session:
        origin = leases.origin_of(session, entry.fence.shard_id)
        message = sweeping.take_from_lost(
            session, entry.fence, f"{reason}; it said last:\n{tail}" if tail else reason
        )
    if message is not None:
        with logs.bound(
            request_id=origin.request_id, batch=origin.batch_code, shard=str(message.shard_id)
        ):
            _log.warning("shard %s goes to its attempt %d", message.shard_id, message.attempt)
    return message

"""``shard.sweep``: find what was lost on the way, and send it again."""

from __future__ import annotations

import logging

from db import session
from db.messages import TASK_SHARD_SWEEP
from db.repositories import shards
from worker.app import app
from worker.connections import engine
from worker.settings import settings
from worker.task import Task
from worker.tasks.shard import publish

log = logging.getLogger("refault.worker")


@app.task(base=Task, name=TASK_SHARD_SWEEP)
def sweep() -> None:
    """Requeue shards whose lease ran out; announce queued ones whose message is old.

    Only the database's clock is asked. Doing it twice at once, or too often, is harmless:
    each shard is looked at again under its lock.
    """
    with session.transaction(engine()) as opened:
        expired = shards.expire(opened)
    for fence in expired:
        with session.transaction(engine()) as opened:
            worker = shards.holder(opened, fence)
            message = shards.take_from_lost(
                opened, fence, f"worker {worker} was lost: its lease ran out"
            )
        if message is not None:
            log.warning("shard %s was lost; attempt %d follows", message.shard_id, message.attempt)
            publish([message])
    with session.transaction(engine()) as opened:
        messages = shards.stale_messages(opened, older_than_seconds=settings().resend_seconds)
        shards.fail_orphans(opened)
    publish(messages)

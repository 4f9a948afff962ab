"""``shard.run`` and ``shard.sweep``."""

from __future__ import annotations

import logging

from db.messages import QUEUE_SHARDS, TASK_SHARD_RUN, TASK_SHARD_SWEEP
from worker import lifecycle, shards
from worker.app import app
from worker.sweep import Pace
from worker.sweep import sweep as sweep_once

_log = logging.getLogger(__name__)
_sweeps = Pace()


@app.task(name=TASK_SHARD_RUN)
def run(shard_id: str, attempt: int) -> None:
    """Compute the best shard that waits; the message says only that there is one."""
    ending = shards.run(lifecycle.resources())
    _log.info("nudged for shard %s, attempt %d: %s", shard_id, attempt, ending.value)


@app.task(name=TASK_SHARD_SWEEP)
def sweep() -> None:
    """Find what was lost; harmless however often it runs. A heap of them is worth one."""
    held = lifecycle.resources()
    if not _sweeps.is_due(held.settings.sweep_seconds / 2):
        return
    with app.connection_for_read() as connection, connection.channel() as channel:
        try:
            waiting_count = channel.queue_declare(queue=QUEUE_SHARDS, passive=True).message_count
        except connection.channel_errors:
            # An empty queue does not exist to the broker.
            waiting_count = 0
    sweep_once(held, waiting_message_count=waiting_count)

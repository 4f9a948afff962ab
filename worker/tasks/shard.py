"""``shard.run`` and ``shard.sweep``."""

from __future__ import annotations

from db.messages import QUEUE_SHARDS, TASK_SHARD_RUN, TASK_SHARD_SWEEP
from worker import lifecycle, shards
from worker.app import app
from worker.sweep import sweep as sweep_once
from worker.task import fence_of


@app.task(name=TASK_SHARD_RUN)
def run(shard_id: str, attempt: int) -> None:
    """Look at a shard and compute it if it is free; a second delivery finds it taken."""
    shards.run(lifecycle.resources(), fence_of(shard_id, attempt))


@app.task(name=TASK_SHARD_SWEEP)
def sweep() -> None:
    """Find what was lost; harmless however often it runs."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        try:
            waiting_count = channel.queue_declare(queue=QUEUE_SHARDS, passive=True).message_count
        except connection.channel_errors:
            # An empty queue does not exist to the broker.
            waiting_count = 0
    sweep_once(lifecycle.resources(), waiting_message_count=waiting_count)

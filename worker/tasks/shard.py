"""``shard.run``."""

from __future__ import annotations

import logging

from db.shards.messages import TASK_SHARD_RUN
from worker import lifecycle, shards
from worker.app import app

_log = logging.getLogger(__name__)


@app.task(name=TASK_SHARD_RUN)
def run(shard_id: str, attempt: int) -> None:
    """Compute the best queued shards, for a turn; the message says only that there is one."""
    endings = shards.take_turn(lifecycle.resources())
    _log.info("nudged for shard %s, attempt %d: %d shards", shard_id, attempt, len(endings))

"""``build.run``."""

from __future__ import annotations

import logging

from db.shards.messages import TASK_BUILD_RUN
from worker import builds, lifecycle
from worker.app import app

_log = logging.getLogger(__name__)


@app.task(name=TASK_BUILD_RUN)
def run(kernel_id: str) -> None:
    """Build what waits; the message says only that there is something."""
    count = builds.take_turn(lifecycle.resources())
    _log.info("nudged for kernel %s: %d kernels", kernel_id, count)

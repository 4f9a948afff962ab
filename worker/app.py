"""The Celery application: every queue listed, nothing implicit.

Two rules make workers replaceable: the row is the truth and the message only a
nudge (``db/messages.py``); a task is sent after the commit, or never.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import celery
from celery import bootsteps, signals
from kombu.entity import Queue

from db.messages import (
    BROKER_SETTINGS,
    HARD_LIMIT_SECONDS,
    QUEUE_SHARDS,
    QUEUE_UPKEEP,
    TASK_SHARD_SWEEP,
)
from worker import connections
from worker.settings import settings

app = celery.Celery(
    "refault-worker",
    broker=settings().broker_url,
    include=["worker.tasks.shard", "worker.tasks.sweep"],
)
app.conf.update(BROKER_SETTINGS)
app.conf.update(
    task_queues=[Queue(QUEUE_SHARDS), Queue(QUEUE_UPKEEP)],
    # A message is given back to the broker when its worker is lost, so the row decides twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_acks_on_failure_or_timeout=True,
    worker_prefetch_multiplier=1,
    task_time_limit=HARD_LIMIT_SECONDS,
    worker_max_memory_per_child=settings().memory_limit_kib,
    worker_soft_shutdown_timeout=5.0,
    worker_enable_soft_shutdown_on_idle=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    beat_schedule={
        TASK_SHARD_SWEEP: {"task": TASK_SHARD_SWEEP, "schedule": settings().sweep_seconds}
    },
)


def worker_name() -> str:
    """What this process is called in the database: host and process."""
    return f"{socket.gethostname()}-{os.getpid()}"


class Registration(bootsteps.StartStopStep):
    """Registers the worker's simulator and writes its heartbeat from the consumer's own loop.

    A worker that is stuck writes none, whatever its processes look like from outside.
    """

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None
        self._name = worker_name()

    def start(self, parent: Any) -> None:
        """The worker is up."""
        connections.register(self._name)
        self._timer = parent.timer.call_repeatedly(
            settings().heartbeat_seconds, connections.heartbeat, (self._name,)
        )

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery passes it
        """The worker goes down in good order."""
        if self._timer is not None:
            self._timer.cancel()
        connections.deregister(self._name)


app.steps["worker"].add(Registration)


@signals.worker_process_init.connect
def _fresh_connections(**_: Any) -> None:
    """A pool process must not share its parent's connections."""
    connections.forget()

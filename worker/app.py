"""The Celery application: queues, tasks, and the acknowledgement of messages.

Loaded by ``celery --app worker.app``. The environment is read when the
configuration is first needed, and nothing of the simulator is imported here,
so that upkeep stays small.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from db.shards.messages import BROKER_SETTINGS
from services.shared.limits import SLACK_SECONDS
from worker import lifecycle
from worker.settings import load


def configuration() -> dict[str, Any]:
    """Celery's settings, from those of the worker; ends the process if one is missing."""
    settings = load()
    return {
        **BROKER_SETTINGS,
        "broker_url": settings.broker_url,
        # Late acknowledgement: a message is acknowledged only after its row was checked.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # The last resort: the worker itself enforces a shard's time limit (worker/deadline.py).
        "task_time_limit": settings.shard_seconds + SLACK_SECONDS,
        # On SIGTERM a worker may finish its shard within this time; else the shard is requeued.
        "worker_soft_shutdown_timeout": settings.stop_seconds,
        "worker_max_memory_per_child": settings.memory_limit_kib,
        # A lost broker connection must not cancel a computation: the row holds the claim.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
    }


app = Celery(
    "refault",
    include=["worker.tasks.shard", "worker.tasks.build", "worker.tasks.question"],
    task_cls="worker.task:Task",
)
app.add_defaults(configuration)
lifecycle.install(app)

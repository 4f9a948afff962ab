"""The base of every task, and the handling of a dead pool process.

When a pool process is killed, nobody can claim its shards until its lease
expires. So the main process, which sees the death, requeues the shards of that
process (:mod:`worker.deaths`).
"""

from __future__ import annotations

from typing import Any

import celery
from celery.exceptions import WorkerLostError
from celery.worker import state
from celery.worker.request import Request

from worker import deaths, lifecycle


class ShardRequest(Request):
    """One delivery, as the main process sees it."""

    def acknowledge(self) -> None:
        """Acknowledges the message; a failure means that the connection is lost."""
        super().acknowledge()
        self._notice_lost_broker()

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002
        """Rejects the message for redelivery; a failure means that the connection is lost."""
        super().reject(requeue)
        self._notice_lost_broker()

    def _notice_lost_broker(self) -> None:
        # Celery only logs it. The message would stay unacknowledged, and with a prefetch of one
        # the broker would not be asked again: the dead connection would never be noticed.
        if not self.message.acknowledged:
            lifecycle.broker_is_lost.set()

    def on_failure(self, exc_info: Any, *options: Any, **named_options: Any) -> Any:
        """Requeues the shards of a dead process; other errors are Celery's."""
        answer = super().on_failure(exc_info, *options, **named_options)
        error = exc_info.exception
        # Billiard wraps errors to attach a traceback.
        error = getattr(error, "exc", error)
        if isinstance(error, WorkerLostError | SystemExit) and not _is_stopping():
            self._give_back(f"the process that computed it died: {error}")
        return answer

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001
        """Requeues the shards of a process over its time limit; other timeouts are Celery's."""
        super().on_timeout(soft, timeout)
        if not soft and not _is_stopping():
            self._give_back(f"stopped after {timeout:.0f} s, the longest a shard may take")

    def _give_back(self, reason: str) -> None:
        if self.worker_pid is not None:
            deaths.give_back(lifecycle.resources(), self.worker_pid, reason)


class Task(celery.Task):
    """Base of all tasks: explicit names, and a task may be delivered twice."""

    abstract = True
    Request = "worker.task:ShardRequest"
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    typing = True


def _is_stopping() -> bool:
    return state.should_stop not in (None, False) or state.should_terminate not in (None, False)

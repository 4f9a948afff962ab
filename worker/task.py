"""The base of every task, and which errors time can heal."""

from __future__ import annotations

import logging
from typing import Any

import celery
import sqlalchemy as sa

from refault.errors import NotFound, Unavailable

log = logging.getLogger("refault.worker")

#: Another attempt, perhaps elsewhere, may succeed. The rest is final, or a simulator's crash.
HEALED_BY_TIME: tuple[type[Exception], ...] = (
    Unavailable,
    NotFound,  # the blob may be on its way to this machine's folder
    sa.exc.OperationalError,
    OSError,
)


class Task(celery.Task):
    """A task that never retries by itself: the row says what happens next, the sweep sees to it."""

    abstract = True
    max_retries = 0
    ignore_result = True

    def on_failure(
        self,
        exc: Exception,
        task_id: str,  # noqa: ARG002 - Celery's signature
        args: Any,  # noqa: ARG002
        kwargs: Any,
        einfo: Any,  # noqa: ARG002
    ) -> None:
        """Leave a trail; the lease runs out and the sweep takes the shard back."""
        log.error("%s %s failed: %s", self.name, kwargs, exc, exc_info=exc)

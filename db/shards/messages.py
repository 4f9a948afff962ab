"""What travels through the broker: task names, queues and one small message.

The API sends tasks by these names, the worker registers them; neither imports
the other. A message is a nudge: losing one costs a delay (the sweep sends it
again), a second copy costs one look at a row. So send after the commit, and
let an unreachable broker fail no request.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, ClassVar

QUEUE_SHARDS = "shards"
TASK_SHARD_RUN = "shard.run"
# Of workers with a compiler only; others would drop its messages.
QUEUE_BUILDS = "builds"
TASK_BUILD_RUN = "build.run"
# Of all workers, but in turn with shards: a look at one place should not wait behind a batch.
QUEUE_QUESTIONS = "questions"
TASK_QUESTION_RUN = "question.run"

# A worker may hold a shard this long; the broker gives a message to somebody
# else only after twice that, and the row refuses the second taker anyway.
HARD_LIMIT_SECONDS = 6 * 3600
VISIBILITY_TIMEOUT_SECONDS = 2 * HARD_LIMIT_SECONDS + 600

# To connect: two seconds for a broker that does not answer, and hardly any for one that refuses.
# Rows keep what it misses.
ONE_MORE_TRY: dict[str, Any] = {"max_retries": 1, "interval_start": 0.1, "timeout": 2}

BROKER_SETTINGS: dict[str, Any] = {
    # The row is the truth, so answers by message are never wanted.
    "task_ignore_result": True,
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
    "task_queues": {
        QUEUE_SHARDS: {"exchange": QUEUE_SHARDS, "routing_key": QUEUE_SHARDS},
        QUEUE_BUILDS: {"exchange": QUEUE_BUILDS, "routing_key": QUEUE_BUILDS},
        QUEUE_QUESTIONS: {"exchange": QUEUE_QUESTIONS, "routing_key": QUEUE_QUESTIONS},
    },
    "task_create_missing_queues": False,
    "task_default_queue": QUEUE_SHARDS,
    "task_routes": {
        TASK_SHARD_RUN: {"queue": QUEUE_SHARDS},
        TASK_BUILD_RUN: {"queue": QUEUE_BUILDS},
        TASK_QUESTION_RUN: {"queue": QUEUE_QUESTIONS},
    },
    # All three places: kombu reads whichever it meets first.
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
    "result_backend_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_SECONDS},
    "broker_transport_options": {
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 3,
    },
    "broker_connection_timeout": 3,
    "task_publish_retry": False,
    "timezone": "UTC",
    "enable_utc": True,
}
"""Celery settings that sender and receiver must share: ``app.conf.update(BROKER_SETTINGS)``."""


@dataclasses.dataclass(frozen=True)
class ShardMessage:
    """Look at this shard; worth nothing once the row has another attempt number."""

    shard_id: uuid.UUID
    attempt: int

    task: ClassVar[str] = TASK_SHARD_RUN

    def to_arguments(self) -> dict[str, str | int]:
        """The keyword arguments of ``shard.run``."""
        return {"shard_id": str(self.shard_id), "attempt": self.attempt}


@dataclasses.dataclass(frozen=True)
class BuildMessage:
    """Look for builds to do; this kernel has some."""

    kernel_id: uuid.UUID

    task: ClassVar[str] = TASK_BUILD_RUN

    def to_arguments(self) -> dict[str, str | int]:
        """The keyword arguments of ``build.run``."""
        return {"kernel_id": str(self.kernel_id)}


@dataclasses.dataclass(frozen=True)
class QuestionMessage:
    """Look for questions to answer; this one waits."""

    question_id: uuid.UUID

    task: ClassVar[str] = TASK_QUESTION_RUN

    def to_arguments(self) -> dict[str, str | int]:
        """The keyword arguments of ``question.run``."""
        return {"question_id": str(self.question_id)}


Message = ShardMessage | BuildMessage | QuestionMessage

"""Sends task names to the broker. No task is registered here and no answer is awaited."""

from collections.abc import Sequence

import celery
from kombu.exceptions import OperationalError

from db.shards.messages import BROKER_SETTINGS, ONE_MORE_TRY, TASK_SHARD_RUN, ShardMessage


class Sender:
    """A Celery application that can send and runs nothing."""

    def __init__(self, broker_url: str) -> None:
        self._celery = celery.Celery("refault-api", broker=broker_url, set_as_current=False)
        self._celery.conf.update(BROKER_SETTINGS)

    def publish(self, messages: Sequence[ShardMessage]) -> int:
        """Nudge a worker for each message; how many of them the broker took.

        Call it after the commit. A broker that cannot be reached is no error:
        the rows are queued, and the sweep sends what is missing.
        """
        sent_count = 0
        if not messages:
            return sent_count
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(**ONE_MORE_TRY)
                with self._celery.amqp.Producer(connection, auto_declare=False) as producer:
                    for message in messages:
                        self._celery.send_task(
                            TASK_SHARD_RUN,
                            kwargs=message.to_arguments(),
                            producer=producer,
                            retry=False,
                        )
                        sent_count += 1
        except (OperationalError, OSError):
            return sent_count
        return sent_count

    def check(self) -> None:
        """Reach the broker; ``OperationalError`` or ``OSError`` if it does not answer."""
        with self._celery.connection_for_write() as connection:
            connection.ensure_connection(**ONE_MORE_TRY)

    def close(self) -> None:
        """Give the connections back."""
        self._celery.close()

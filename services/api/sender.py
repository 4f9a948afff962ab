"""Sends task names to the broker. No task is registered here and no answer is awaited."""

from collections.abc import Sequence

import celery

from db.shards.messages import BROKER_SETTINGS, ONE_MORE_TRY, Message
from services.shared import nudging


class Sender:
    """A Celery application that can send and runs nothing."""

    def __init__(self, broker_url: str) -> None:
        self._celery = celery.Celery("refault-api", broker=broker_url, set_as_current=False)
        self._celery.conf.update(BROKER_SETTINGS)

    def publish(self, messages: Sequence[Message]) -> int:
        """As :func:`services.shared.nudging.publish`."""
        return nudging.publish(self._celery, messages)

    def check(self) -> None:
        """Reach the broker; ``OperationalError`` or ``OSError`` if it does not answer."""
        with self._celery.connection_for_write() as connection:
            connection.ensure_connection(**ONE_MORE_TRY)

    def close(self) -> None:
        """Give the connections back."""
        self._celery.close()

"""Messages to the broker: each wakes a worker to claim a queued shard, or builds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from db.shards.messages import ONE_MORE_TRY, Message

if TYPE_CHECKING:
    import celery

_log = logging.getLogger(__name__)


def publish(app: celery.Celery, messages: Sequence[Message]) -> int:
    """Sends messages, after the commit; returns how many the broker took.

    An unreachable broker is no error: the rows are queued and the next sweep sends them.
    """
    sent_count = 0
    if not messages:
        return sent_count
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(**ONE_MORE_TRY)
            with app.amqp.Producer(connection, auto_declare=False) as producer:
                for message in messages:
                    app.send_task(
                        message.task,
                        kwargs=message.to_arguments(),
                        producer=producer,
                        retry=False,
                    )
                    sent_count += 1
    except Exception as error:  # noqa: BLE001  # a broker short of memory has errors of its own
        _log.warning("the broker took %d of %d messages: %s", sent_count, len(messages), error)
    return sent_count

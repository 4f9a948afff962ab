"""``python -m worker.upkeep``: sweep and webhooks, in a small process of their own.

::

    thread "sweep"      every REFAULT_SWEEP_SECONDS     lost shards, lost messages, old snapshots
    thread "webhooks"   every REFAULT_WEBHOOK_SECONDS   messages that wait for their receivers

A worker computes one shard at a time, possibly for hours, and tasks queued behind it would wait. So
none of this goes through the broker, and no simulator is loaded. One such process is enough;
several do no harm, because rows decide.
"""

from __future__ import annotations

import logging
import logging.config
import signal
import sys
import threading
from collections.abc import Callable

import celery
import sqlalchemy as sa
from kombu.exceptions import OperationalError

from db.shards.messages import ONE_MORE_TRY, QUEUE_SHARDS
from refault.errors import RefaultError
from refault.replay.compile.cache import cache_folder
from services.shared import logs
from services.shared.nudging import publish
from worker import webhooks
from worker.app import app
from worker.resources import Resources
from worker.settings import load
from worker.sweep import sweep

_log = logging.getLogger(__name__)

# Longer than one step of any duty should take.
STOP_SECONDS = 5.0


def main() -> int:
    """Runs the duties until a signal."""
    settings = load()
    logging.config.dictConfig(logs.configuration("upkeep", settings.log_level))
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: told_to_stop.set())
    held = Resources.open(
        settings,
        simulators={},
        publish=lambda messages: publish(app, messages),
        # Where the workers of this host keep the stderr of attempts.
        cache=cache_folder(),
    )
    duties = (
        _Duty("sweep", settings.sweep_seconds, lambda: sweep_once(app, held), told_to_stop),
        _Duty("webhooks", settings.webhook_seconds, lambda: webhooks.deliver(held), told_to_stop),
    )
    for duty in duties:
        duty.start()
    _log.info("upkeep has begun")
    # In slices, so that a signal is handled at once whichever thread gets it.
    while not told_to_stop.wait(1):
        if not all(duty.is_alive() for duty in duties):
            _log.error("a duty has ended by itself")
            return 1
    for duty in duties:
        duty.join(STOP_SECONDS)
    held.close()
    return 0


def sweep_once(sender: celery.Celery, held: Resources) -> None:
    """One sweep; without a broker it still requeues shards, and no message counts as lost."""
    try:
        waiting_count = _waiting_count(sender)
    except (OperationalError, OSError) as error:
        _log.warning("the broker does not say how much waits: %s", error)
        waiting_count = sys.maxsize
    sweep(held, waiting_message_count=waiting_count)


def _waiting_count(sender: celery.Celery) -> int:
    with sender.connection_for_read() as connection:
        connection.ensure_connection(**ONE_MORE_TRY)
        with connection.channel() as channel:
            try:
                found = channel.queue_declare(queue=QUEUE_SHARDS, passive=True)
            except connection.channel_errors:
                # The broker has no key for an empty queue.
                return 0
            return int(found.message_count)


class _Duty(threading.Thread):
    """Repeats a duty; a failure is retried at the next period."""

    def __init__(
        self, name: str, pause_seconds: float, do: Callable[[], object], stop: threading.Event
    ) -> None:
        # A slow webhook receiver must not delay the end of the process.
        super().__init__(name=name, daemon=True)
        self._pause_seconds = pause_seconds
        self._do = do
        self._told_to_stop = stop

    def run(self) -> None:
        while not self._told_to_stop.wait(self._pause_seconds):
            try:
                self._do()
            except (RefaultError, OSError, sa.exc.SQLAlchemyError) as error:
                _log.warning("%s: %s", self.name, error)
            except Exception:  # noqa: BLE001  # a defect of one duty must not end the other
                _log.exception("%s failed", self.name)


if __name__ == "__main__":
    sys.exit(main())

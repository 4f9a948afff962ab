"""What a dead pool process held is given back, before its lease expires.

::

    Celery tells of a death ───── worker/task.py ──► give_back
    the heartbeat asks: which processes hold rows, and are no more ──► Silent.look ──► give_back

Celery tells nothing where it never saw the process accept its message: it hands the message to
another process as if nothing had begun, and the row would wait for its lease. So the heartbeat
asks too, which also repeats what an outage of the database kept from being given back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from db import builds as build_rows
from db import questions as question_rows
from db.session import transaction
from db.shards import claiming
from refault.errors import RefaultError
from worker.resources import Resources

_log = logging.getLogger(__name__)

SILENCE_SECONDS = 30.0
"""How long Celery may take to tell of a death with its signal; it waits ten seconds itself."""

LOOK_SECONDS = 2.0
"""The least between two looks for such processes."""


def give_back(resources: Resources, pid: int, reason: str) -> None:
    """Requeue the shards, builds and questions of a process that is known to be dead."""
    # Imported late: the modules load the simulator.
    from worker import builds, questions, shards  # noqa: PLC0415

    for process_died in (shards.process_died, builds.process_died, questions.process_died):
        try:
            process_died(resources, pid, reason)
        except RefaultError as error:
            _log.warning("what process %d held is not given back yet: %s", pid, error)
        except Exception:  # noqa: BLE001  # the main process must not end with its child
            _log.exception("what process %d held is not given back yet", pid)


class Silent:
    """The processes of one worker that hold rows, are no more, and of which nothing was told."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def look(self, resources: Resources, living: Collection[int]) -> None:
        """Give back what processes that are not among the ``living`` have held for too long.

        Raises ServiceError if the database cannot be asked.
        """
        with transaction(resources.engine) as session:
            holding = claiming.processes_of(session, resources.name)
            for queue in (build_rows.QUEUE, question_rows.QUEUE):
                holding |= queue.processes_of(session, resources.name)
        now = time.monotonic()
        self._since = {pid: self._since.get(pid, now) for pid in holding - set(living)}
        for pid, since in self._since.items():
            if now - since >= SILENCE_SECONDS:
                give_back(resources, pid, f"the process that computed it, {pid}, is gone")

"""What questions and builds have in common: a turn, a process that died, an attempt given back.

Their rows are claimed, leased and queued alike (:mod:`db.leased`). What is done with one is theirs.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy.orm import Session

from db.leased import Queue, RowFence
from db.session import transaction
from db.shards.messages import Message
from refault.errors import RefaultError, Unavailable
from worker.endings import described
from worker.resources import Resources

_log = logging.getLogger(__name__)

OUTAGE_PAUSE_SECONDS = 5.0
"""Pause after an outage of the service before the rows are offered again."""


class GiveBack(Protocol):
    """Ends an attempt without an outcome; answers the message for the next, if there is one."""

    def __call__(
        self, session: Session, fence: RowFence, error: str, *, counts_as_loss: bool = True
    ) -> Message | None:
        """Whether it counts as lost decides after how many attempts the row fails."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one table as work: what one is called, their queue, and how one is given back."""

    name: str
    queue: Queue[Any]
    give_back: GiveBack

    def take_turn(self, run: Callable[[], bool], seconds: float | None = None) -> int:
        """Do what waits, for up to so many ``seconds``; how often ``run`` had something to do.

        A failed attempt ends the turn, so that another worker may try the row.
        """
        until = None if seconds is None else time.monotonic() + seconds
        count = 0
        try:
            while run():
                count += 1
                if until is not None and time.monotonic() >= until:
                    break
        except RefaultError as error:
            # Acknowledge the message; the sweep sends another when the database is back.
            _log.warning("no %s claimed: %s", self.name, error)
        return count

    def process_died(self, resources: Resources, pid: int, error: str) -> None:
        """A pool process is known to be dead: its rows are requeued before their lease expires."""
        with transaction(resources.engine) as session:
            fences = self.queue.held_by(session, resources.name, pid)
            messages = [self.give_back(session, fence, error) for fence in fences]
        _publish(resources, messages)

    def hand_back(self, resources: Resources, fences: Sequence[RowFence], error: Exception) -> None:
        """The attempt failed for a reason that another attempt may not have."""
        if not isinstance(error, RefaultError | OSError | MemoryError):
            _log.error("%s: not foreseen", self.name, exc_info=error)
        counts = not isinstance(error, Unavailable)
        try:
            with transaction(resources.engine) as session:
                messages = [
                    self.give_back(session, fence, described(error), counts_as_loss=counts)
                    for fence in fences
                ]
        except RefaultError as failure:
            _log.warning("%s waits for its lease to run out: %s", self.name, failure)
            return
        _log.warning("%s given back: %s", self.name, described(error))
        if not counts:
            # Of an outage: the next message finds the rows again.
            time.sleep(OUTAGE_PAUSE_SECONDS)
        _publish(resources, messages)


def _publish(resources: Resources, messages: Sequence[Message | None]) -> None:
    resources.publish(list(dict.fromkeys(message for message in messages if message is not None)))

"""Retries during outages of the service, for a bounded time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from refault.errors import Unavailable

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

PATIENCE_SECONDS = 120.0
"""A database restart or failover is over within this time."""

_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS_MAX = 5.0


class Patience:
    """The retry budget of one turn of work, over all its steps.

    It starts with the first failing step and is reset by a success. When it is used up, every
    further step is tried once.
    """

    def __init__(self) -> None:
        self._seconds = PATIENCE_SECONDS
        self._until: float | None = None

    def call(
        self,
        what: str,
        do: Callable[[], ResultT],
        *,
        is_pointless: Callable[[], bool] = lambda: False,
    ) -> ResultT:
        """The result of ``do``, which must be idempotent, as an answer may be lost.

        Raises:
            Unavailable: the budget is used up, or ``is_pointless`` says that it no longer matters.
        """
        pause = _PAUSE_SECONDS
        while True:
            try:
                answer = do()
            except Unavailable as error:
                now = time.monotonic()
                self._until = self._until or now + self._seconds
                if now + pause > self._until or is_pointless():
                    raise
                _log.warning("%s: tried again in %.2f s: %s", what, pause, error)
            else:
                self._until = None
                return answer
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

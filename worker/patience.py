"""Tries again what the service cannot do for now, for as long as it may still matter."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from refault.errors import Unavailable

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

PATIENCE_SECONDS = 120.0
"""A database that is started anew, or another one in its place, answers within this time."""

_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS_MAX = 5.0


class Patience:
    """How long one turn of work puts up with an outage, however many of its steps meet it.

    It begins with the first step that fails and is whole again once one has succeeded. When it is
    used up, every further step is tried once.
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
        """What ``do`` answers; it must bear being done twice, as an answer may be lost.

        Raises:
            Unavailable: patience is used up, or ``is_pointless`` says that it no longer matters.
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

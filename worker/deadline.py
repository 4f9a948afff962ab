"""The time limit of a shard: an attempt that reaches it fails for good, as any other would."""

from __future__ import annotations

import time

from refault.errors import ReplayError
from services.shared.limits import Limits


class ReplayOutOfTime(ReplayError):
    """The replay took longer than it may, so it was stopped."""


class Deadline:
    """Starts when created. Uses the monotonic clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ends_at = time.monotonic() + limits.seconds

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends_at

    def check(self) -> None:
        """Raise ReplayOutOfTime if it is."""
        if self.is_over():
            raise ReplayOutOfTime(
                f"out of time after {self._limits.named_seconds} for a shard: capture less, submit "
                "fewer variants at once, or have the limit raised"
            )

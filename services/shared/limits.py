"""Limits of one shard: time and memory.

One rule for the workers, which enforce it while a shard runs, and for the API, which refuses
beforehand what is certain to exceed it.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from db.shards.messages import HARD_LIMIT_SECONDS
from refault.errors import TraceError

MIB: Final = 1 << 20
GIB: Final = 1 << 30
SHARD_SECONDS: Final = 3600.0
#: A worker has this much time to end a shard itself before Celery kills its process.
SLACK_SECONDS: Final = 600
SHARD_SECONDS_MAX: Final = HARD_LIMIT_SECONDS - SLACK_SECONDS
MEMORY_LIMIT_KIB: Final = 4 * GIB // 1024
#: Memory of a pool process besides the arrays of a replay: interpreter, compiled kernels, a
#: decoded block.
BASE_BYTES: Final = GIB
#: Faster than any measured replay of one variant, so that a refusal is certain.
EVENTS_PER_SECOND_MAX: Final = 100_000_000


class TraceTooCostly(TraceError):
    """A replay of the trace takes more time or memory than the service gives."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of one project: the service's, or its own lower time limit."""

    seconds: float
    memory_bytes: int
    is_project: bool = False

    @classmethod
    def of(cls, shard_seconds: float, memory_limit_kib: int) -> Limits:
        """The service's limits, from the settings."""
        limit_bytes = memory_limit_kib * 1024
        return cls(shard_seconds, max(limit_bytes - BASE_BYTES, limit_bytes // 2))

    def within(self, project_seconds: int | None) -> Limits:
        """The same with a project's time limit, which can only be lower."""
        if project_seconds is None or project_seconds >= self.seconds:
            return self
        return dataclasses.replace(self, seconds=float(project_seconds), is_project=True)

    @property
    def named_seconds(self) -> str:
        """The time limit, and whether it is the service's or the project's."""
        whose = "the project (shard_seconds)" if self.is_project else "the service"
        return f"{self.seconds:g} s, the limit of {whose}"

    def check(self, what: str, *, work: int, memory_bytes: int) -> None:
        """Refuses a trace that no machine could replay within the limits.

        ``work`` and ``memory_bytes`` are lower bounds for one variant.

        Raises:
            TraceTooCostly: with the exceeded limit.
        """
        if memory_bytes > self.memory_bytes:
            raise TraceTooCostly(
                f"{what} needs {-(-memory_bytes // MIB)} MiB or more for a replay, and a worker "
                f"gives it {self.memory_bytes // MIB} MiB: capture less, or raise "
                "REFAULT_MEMORY_LIMIT_KIB of the workers and the API"
            )
        seconds = work / EVENTS_PER_SECOND_MAX
        if seconds > self.seconds:
            raise TraceTooCostly(
                f"{what} costs as much as {work:,} ordinary events, {seconds:,.0f} s or more "
                f"under each variant; a shard may take {self.named_seconds}: capture less, or "
                "have the limit raised"
            )

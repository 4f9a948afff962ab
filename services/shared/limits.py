"""What one shard may take, in time and in memory.

One rule for the workers, who hold a shard to it while it runs, and for the API, which refuses
beforehand what certainly takes more.
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
#: Of a pool process's memory, what is no array of a replay: interpreter, compiled kernels, a
#: decoded block.
BASE_BYTES: Final = GIB
#: Nobody has seen a machine replay more events of one variant a second.
EVENTS_PER_SECOND_MAX: Final = 100_000_000


class TraceTooCostly(TraceError):
    """A replay of the trace takes more time or memory than the service gives."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of one project: the service's, and below that its own time limit if it has one."""

    seconds: float
    memory_bytes: int
    is_project: bool = False

    @classmethod
    def of(cls, shard_seconds: float, memory_limit_kib: int) -> Limits:
        """What the settings of the service give a shard."""
        limit_bytes = memory_limit_kib * 1024
        return cls(shard_seconds, max(limit_bytes - BASE_BYTES, limit_bytes // 2))

    def within(self, project_seconds: int | None) -> Limits:
        """The same with a project's time limit, which can only be lower."""
        if project_seconds is None or project_seconds >= self.seconds:
            return self
        return dataclasses.replace(self, seconds=float(project_seconds), is_project=True)

    @property
    def named_seconds(self) -> str:
        """The time limit, and whose it is."""
        whose = "the project (shard_seconds)" if self.is_project else "the service"
        return f"{self.seconds:g} s, the limit of {whose}"

    def check(self, what: str, *, work: int, memory_bytes: int) -> None:
        """Refuses what cannot be replayed within the limits, however fast the machine.

        ``work`` and ``memory_bytes`` are what one variant takes at least.

        Raises:
            TraceTooCostly: with the limit that it is over.
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

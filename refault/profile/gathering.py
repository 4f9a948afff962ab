"""Replays with documents: each run's timeline and attribution, beside its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from refault.catalogue import PatchSet, resolve
from refault.engines.account.host import Host as AccountHost
from refault.engines.base import Watch
from refault.engines.shadow.host import Host as ShadowHost
from refault.errors import ReplayRefused, SnapshotRefused
from refault.profile import sidecar, telling
from refault.profile.clock import ClockedReader
from refault.profile.observed import Observed
from refault.regions import regions_of
from refault.replay import snapshot
from refault.replay.budget import Budget
from refault.replay.compile import jit
from refault.replay.session import Session
from refault.results import SHADOW
from refault.trace import TraceHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from refault.attribution import Attribution
    from refault.catalogue import Variant
    from refault.results import RunResult
    from refault.timeline import Timeline


class Gathered(NamedTuple):
    """One run: its result, and the documents beside it."""

    result: RunResult
    timeline: Timeline
    attribution: Attribution


class Gathering(Session):
    """A session whose hosts also note what happens; results are the same bytes.

    Parameters as of a session, without an event log. A snapshot of it can be resumed by a session,
    but not the other way round: what was not noted is lost.
    """

    def __init__(
        self,
        trace: Path | BinaryIO,
        variants: Sequence[Variant],
        *,
        threads: int = 1,
        is_cancelled: Callable[[], bool] | None = None,
        resume_from: Path | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        warm_up({variant.engine for variant in variants})
        kept = None if resume_from is None else sidecar.read(resume_from)
        self._clock = ClockedReader(trace, allow_truncated=True)
        try:
            super().__init__(
                self._clock,
                variants,
                threads=threads,
                is_cancelled=is_cancelled,
                resume_from=resume_from,
                memory_bytes=memory_bytes,
            )
            self._observed = [self._observe(host) for host in self._hosts]
            if kept is not None:
                self._take_up(kept)
        except BaseException:
            self._clock.close()
            raise
        # No lane has begun yet: they begin with the first step.
        self._hosts[:] = cast("list[Any]", self._observed)

    def _observe(self, host: Any) -> Observed:
        if isinstance(host, ShadowHost):
            regions = regions_of(self._clock.header.guest_mode)
            accounted = AccountHost(host, [begin for begin, _ in regions])
            accounted.take_over()
            return Observed(accounted, self._clock)
        return Observed(host, self._clock)

    def _take_up(self, kept: dict[str, Any]) -> None:
        if len(kept["hosts"]) != len(self._observed) or kept["events"] != self._source.events:
            raise SnapshotRefused("the snapshot cannot be used: its accounts are of another run")
        for observed, noted in zip(self._observed, kept["hosts"], strict=True):
            sidecar.restore(observed, noted)
        self._clock.resume(kept["unit"], kept["events"], kept["instructions"])

    def close(self) -> None:
        """End its threads, and close the trace."""
        super().close()
        self._clock.close()

    def snapshot(self) -> snapshot.Snapshot:
        """As of a session, with what was noted so far."""
        if self._next_event is not None:
            raise ReplayRefused("a snapshot with accounts is taken between two parts of the rows")
        return sidecar.Kept(self._source, self._observed, self.trace, self._clock.unit)

    def gathered(self) -> list[Gathered]:
        """Results and documents, in the order of the variants; the trace must be at its end."""
        return [
            Gathered(
                result,
                telling.timeline_of(observed, result),
                telling.attribution_of(observed, result),
            )
            for observed, result in zip(self._observed, self.results(), strict=True)
        ]


def replay(
    trace: Path | BinaryIO,
    variants: Sequence[Variant],
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    snapshot_every: int = 0,
    on_snapshot: Callable[[snapshot.Snapshot], object] | None = None,
    resume_from: Path | None = None,
    memory_bytes: int | None = None,
) -> list[Gathered]:
    """As :func:`refault.replay.session.replay`, with the documents beside each result.

    Raises:
        SnapshotRefused: ``resume_from`` has no accounts: replay from the beginning.
        RefaultError: as there.
    """
    with Gathering(
        trace,
        variants,
        threads=threads,
        is_cancelled=is_cancelled,
        resume_from=resume_from,
        memory_bytes=memory_bytes,
    ) as session:
        session.run(progress=progress, snapshot_every=snapshot_every, on_snapshot=on_snapshot)
        return session.gathered()


_warm: set[str] = set()


def warm_up(engines: Iterable[str]) -> None:
    """Compile the kernels of accounts, or load them from the cache, in this thread."""
    if _warm or SHADOW not in set(engines):
        return
    header = TraceHeader("operations", "warm-up", "long", 1)
    with jit.compiling_alone():
        host = AccountHost(ShadowHost(resolve(PatchSet()), header, Budget(), Watch()), [0])
        host.sample()
    _warm.add(SHADOW)

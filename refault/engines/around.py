"""A host around another one: what watches a run without being part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.notes import Notes
    from refault.replay.operations import Operations


class Around:
    """A host that does what another does, but for what a subclass adds; see :class:`Host`."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @property
    def variant(self) -> Variant:
        """What it simulates."""
        return self.host.variant

    @property
    def notes(self) -> Notes:
        """What its run has shown so far."""
        return self.host.notes

    @property
    def operation_count(self) -> int:
        """Operations executed so far."""
        return self.host.operation_count

    @property
    def samples(self) -> list[tuple[int, int, list[int]]]:
        """What the host itself samples."""
        return self.host.samples

    @property
    def stopped(self) -> bool:
        """Whether the simulated kernel broke."""
        return self.host.stopped

    def begin(self) -> None:
        """Execute what comes before a capture's first event."""
        self.host.begin()

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the first ``count`` rows."""
        self.host.execute(ops, count)

    def abort(self) -> None:
        """Make ``execute``, in another thread, end soon."""
        self.host.abort()

    def counters(self) -> dict[str, int]:
        """Totals."""
        return self.host.counters()

    def work(self) -> dict[str, int]:
        """How accesses found their translation."""
        return self.host.work()

    def page_digest(self) -> str:
        """A digest of the shadow pages."""
        return self.host.page_digest()

    def page_set(self) -> list[list[int]]:
        """The shadow pages."""
        return self.host.page_set()

    def state(self) -> dict[str, Any]:
        """Its words under their names."""
        return self.host.state()

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """All that the host remembers."""
        return self.host.pack()

    def restore(
        self, head: Mapping[str, Any], sizes: Sequence[int], words_of: Callable[[int], Any]
    ) -> None:
        """Take up what ``pack`` gave."""
        self.host.restore(head, sizes, words_of)

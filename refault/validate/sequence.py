"""The first counted event at which a host's log and a replay are not the same.

Both are read side by side, one event of each at a time, so that nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from refault.trace.hostlog.events import HostEvent

_ZAPS: Final = {"kvm_mmu_prepare_zap_page": "kvm_mmu_zap_page"}
_CODE_BITS: Final = 31  # of a page fault's code: P, W, U, RSVD, I
_COMPARED: Final = ("address", "error_code", "gfn", "level", "created")


class Difference(NamedTuple):
    """``number`` counts the events before it; None stands for a side that has ended."""

    number: int
    ours: HostEvent | None
    host: HostEvent | None
    is_after_loss: bool


class Sequence:
    """Takes our events one at a time, and the host's from an iterator as they are needed."""

    def __init__(self, host: Iterator[tuple[HostEvent, bool]]) -> None:
        self._host = host
        self._index = 0
        self.first: Difference | None = None

    def take(self, ours: HostEvent) -> None:
        """Hold our next counted event against the host's."""
        if self.first is not None:
            return
        found = next(self._host, None)
        if found is None:
            self.first = Difference(self._index, ours, None, is_after_loss=False)
        elif not is_same(ours, found[0]):
            self.first = Difference(self._index, ours, found[0], is_after_loss=found[1])
        self._index += 1

    def finish(self) -> None:
        """Our side has ended: what the host has more is the first difference, and is counted."""
        for event, is_after_loss in self._host:
            if self.first is None:
                self.first = Difference(self._index, None, event, is_after_loss=is_after_loss)


def is_same(ours: HostEvent, host: HostEvent) -> bool:
    """Whether two events are of one kind, and agree in all that both tell."""
    if _ZAPS.get(ours.name, ours.name) != _ZAPS.get(host.name, host.name):
        return False
    return all(
        _part(ours, key) == _part(host, key)
        for key in _COMPARED
        if key in ours.fields and key in host.fields
    )


def _part(event: HostEvent, key: str) -> object:
    value = event.fields[key]
    return value & _CODE_BITS if key == "error_code" and isinstance(value, int) else value

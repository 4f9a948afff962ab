"""Counts of one side's events, whole and along three measures of its progress.

::

    event ──► which counts ──► totals
                          └──► Curve by marks, by CR3 writes, by time

What is counted are the events that a shadow MMU and a host's log both tell of. Memory is bounded:
a curve that grows too long makes its parts wider.
"""

from __future__ import annotations

from typing import Final

from refault.trace.hostlog.events import UNKNOWN, HostEvent

#: Names of the counts, in the order of every tuple of them.
COUNTS: Final = ("faults", "get_page", "new_pages", "sync", "unsync", "zap")
BASES: Final = ("marks", "cr3", "time")
_PLACES: Final = {name: place for place, name in enumerate(COUNTS)}
_OF_EVENTS: Final = {
    "kvm_page_fault": ("faults",),
    "kvm_mmu_get_page": ("get_page",),
    "kvm_mmu_sync_page": ("sync",),
    "kvm_mmu_unsync_page": ("unsync",),
    "kvm_mmu_zap_page": ("zap",),
    "kvm_mmu_prepare_zap_page": ("zap",),
}
_MAX_PARTS: Final = 4096

Counts = tuple[int, ...]


def counts_of(event: HostEvent) -> list[int]:
    """The places in :data:`COUNTS` that an event adds one to."""
    found = [_PLACES[name] for name in _OF_EVENTS.get(event.name, ())]
    if event.name == "kvm_mmu_get_page" and event.fields.get("created") == 1:
        found.append(_PLACES["new_pages"])
    return found


def is_counted(event: HostEvent) -> bool:
    """Whether an event adds to any count."""
    return event.name in _OF_EVENTS


class Curve:
    """Counts in parts of equal width along one measure, at most :data:`_MAX_PARTS` of them."""

    def __init__(self) -> None:
        self.width = 1
        self.parts: list[list[int]] = []

    def add(self, position: int, places: list[int]) -> None:
        """Count at a position from 0 on."""
        while position // self.width >= _MAX_PARTS:
            self.widen(2 * self.width)
        index = position // self.width
        while len(self.parts) <= index:
            self.parts.append([0] * len(COUNTS))
        part = self.parts[index]
        for place in places:
            part[place] += 1

    def widen(self, width: int) -> None:
        """Make the parts as wide as a multiple of what they are."""
        step = width // self.width
        if step > 1:
            self.parts = [
                [sum(column) for column in zip(*self.parts[at : at + step], strict=True)]
                for at in range(0, len(self.parts), step)
            ]
            self.width = width


class Tally:
    """All counts of one side."""

    def __init__(self) -> None:
        self.totals = [0] * len(COUNTS)
        self.curves = {basis: Curve() for basis in BASES}
        self.cr3_count = 0
        self.mark_count = 0
        self.event_count = 0
        self._first_time: int | None = None
        self.span = 0

    def mark(self) -> None:
        """A mark: what follows is the next phase."""
        self.mark_count += 1

    def take(self, event: HostEvent) -> bool:
        """Count an event; answers whether it adds to any count."""
        self.event_count += 1
        if event.name == "kvm_cr" and event.fields.get("write") and event.fields.get("cr") == 3:  # noqa: PLR2004
            self.cr3_count += 1
        if event.time_ns != UNKNOWN:
            self._first_time = event.time_ns if self._first_time is None else self._first_time
            self.span = max(self.span, event.time_ns - self._first_time)
        places = counts_of(event)
        if not places:
            return False
        for place in places:
            self.totals[place] += 1
        self.curves["marks"].add(self.mark_count, places)
        self.curves["cr3"].add(self.cr3_count, places)
        self.curves["time"].add(self._time_of(event), places)
        return True

    def _time_of(self, event: HostEvent) -> int:
        if event.time_ns == UNKNOWN or self._first_time is None:
            return self.span
        return max(0, event.time_ns - self._first_time)

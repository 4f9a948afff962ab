"""A host of any engine whose counters are sampled while it runs."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from refault.engines.account.host import Host as AccountHost
from refault.engines.account.words import DUE_MAX
from refault.engines.around import Around
from refault.replay import operations as op
from refault.timeline import MARKS_MAX, SAMPLES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refault.engines.base import Host
    from refault.profile.clock import ClockedReader
    from refault.replay.operations import Operations

#: First words of a sample: its interval, then where it was taken (refault.timeline.PLACES).
WINDOW, PLACE, VALUES = 0, 1, 4
#: Samples of one stretch of rows.
ROWS_AT_ONCE = DUE_MAX


class Observed(Around):
    """A host as a session sees one, with samples of its counters at even distances.

    A sample is taken before the first row in each interval of the guest's time. When there are too
    many, the interval is doubled, and of the samples in one interval the first is kept: as if it
    had been so long from the beginning. So the samples do not depend on how the trace is cut into
    parts, on what is known of its length, or on where a run was interrupted.
    """

    def __init__(self, host: Host, clock: ClockedReader) -> None:
        super().__init__(host)
        self.clock = clock
        self.interval = 0
        #: Samples: WINDOW, places, values.
        self.taken: list[list[int]] = []
        #: Number, event, and instructions before it.
        self.marks: list[tuple[int, int, int]] = []
        self.mark_count = 0
        #: What the values are, where the host is not the model's; later samples may have more.
        self.names: list[str] = []
        self._next_window = 0

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the first ``count`` rows, with a sample before the first of each interval."""
        self.interval = self.interval or self.clock.interval
        self._note_marks(ops, count)
        at = 0
        while at < count and not self.host.stopped:
            due = self._rows_due(ops, at, count)[:ROWS_AT_ONCE]
            end = count if len(due) < ROWS_AT_ONCE else due[-1] + 1
            part = ops if at == 0 and end == count else _rows(ops, at, end)
            samples = self._sampled(part, end - at, [row - at for row in due])
            self._keep([int(ops.event[row]) for row in due], samples)
            at = end

    # --- samples ------------------------------------------------------------------------------

    def _rows_due(self, ops: Operations, at: int, count: int) -> list[int]:
        """The first row in each interval that has no sample yet; at most ROWS_AT_ONCE of them."""
        events = ops.event[at:count]
        found = self.clock.rows_due(events, self._next_window, self.interval)
        if found is not None:
            return [row + at for row in found]
        rows: list[int] = []
        window = self._next_window
        while len(rows) < ROWS_AT_ONCE:
            due = self.clock.event_at(window * self.interval)
            at = bisect.bisect_left(ops.event, due, at, count)
            if at == count:
                break
            rows.append(at)
            window = self.clock.window_of(int(ops.event[at]), self.interval) + 1
        return rows

    def _sampled(self, ops: Operations, count: int, due: list[int]) -> list[list[int]]:
        """Execute rows; the numbers before each of those due, as far as it came."""
        if isinstance(self.host, AccountHost):
            found: list[list[int]] = self.host.execute_sampled(ops, count, due).tolist()
            return found
        samples: list[list[int]] = []
        at = 0
        for end in [*due, count]:
            if end > at:
                self.host.execute(_rows(ops, at, end), end - at)
            if self.host.stopped:
                break
            if end < count:
                samples.append(self.values())
            at = end
        return samples

    def _keep(self, events: list[int], samples: list[list[int]]) -> None:
        events = events[: len(samples)]
        windows, before = self.clock.places_of(events, self.interval)
        for place, values in enumerate(samples):
            where = [windows[place], events[place], before[place], values[-1]]
            self.taken.append(where + values[:-1])
        while len(self.taken) >= SAMPLES_MAX:
            self.coarsen()
        if samples:
            self._next_window = self.taken[-1][WINDOW] + 1

    def coarsen(self) -> None:
        """Double the interval."""
        self.interval *= 2
        kept: list[list[int]] = []
        for sample in self.taken:
            sample[WINDOW] //= 2
            if not kept or sample[WINDOW] != kept[-1][WINDOW]:
                kept.append(sample)
        self.taken = kept

    def values(self) -> list[int]:
        """The numbers of a sample as they are now, the operations executed last."""
        if isinstance(self.host, AccountHost):
            return self.host.sample()
        now = self.host.counters() | self.host.work()
        # A kernel has the statistics of its VM and vCPUs only once these exist.
        self.names += [name for name in now if name not in self.names]
        return [*(now.get(name, 0) for name in self.names), self.host.operation_count]

    def _note_marks(self, ops: Operations, count: int) -> None:
        kinds = bytes(ops.kind[:count])
        rows, row = [], kinds.find(op.NOTE)
        while row >= 0:
            rows.append(row)
            row = kinds.find(op.NOTE, row + 1)
        self.mark_count += len(rows)
        for row in rows[: MARKS_MAX - len(self.marks)]:
            event = int(ops.event[row])
            self.marks.append((int(ops.a[row]), event, self.clock.instructions_before(event)))

    # --- across interruptions --------------------------------------------------------------

    def pack_samples(self) -> dict[str, Any]:
        """What it noted so far."""
        return {
            "interval": self.interval,
            "next_window": self._next_window,
            "samples": self.taken,
            "marks": self.marks,
            "mark_count": self.mark_count,
        }

    def restore_samples(self, noted: Mapping[str, Any]) -> None:
        """Take up what ``pack_samples`` gave, checked before (sidecar.py)."""
        self.interval, self._next_window = noted["interval"], noted["next_window"]
        self.taken = [list(sample) for sample in noted["samples"]]
        self.marks = [(number, event, time) for number, event, time in noted["marks"]]
        self.mark_count = noted["mark_count"]


def _rows(ops: Operations, at: int, end: int) -> Operations:
    return type(ops)(*(column[at:end] for column in ops))

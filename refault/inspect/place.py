"""A host of one variant at an operation of a trace, taken up at the nearest stored snapshot."""

from __future__ import annotations

import bisect
import contextlib
from typing import TYPE_CHECKING

from refault.diverge.decoded import Decoded
from refault.diverge.position import Position, Row, again, open_hosts, part_of
from refault.errors import InvalidParameter, SnapshotRefused
from refault.replay.budget import Budget
from refault.replay.lowering.rows import RowSource
from refault.replay.snapshot import Snapshot, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from refault.catalogue import Variant
    from refault.engines.base import Host, Watch
    from refault.inspect.shelf import Kept, Shelf
    from refault.replay.operations import Operations
    from refault.trace import TraceReader


class Place(Position):
    """One host at an operation; it begins at the snapshot ``kept``, or at the first operation.

    ``latest`` is the row executed last, None where none was since it began. On its way forward it
    puts snapshots on the ``shelf``, while ``keeps``.

    Raises:
        SnapshotRefused: the snapshot is damaged, or of something else.
    """

    def __init__(self, timeline: Timeline, kept: Kept | None) -> None:
        self._shelf, self._kept = timeline.shelf, kept
        self.latest: Row | None = None
        self.keeps = True
        super().__init__(timeline.trace, [timeline.variant], None, timeline.look)

    @property
    def host(self) -> Host:
        """The only host."""
        return self.hosts[0]

    @property
    def reader(self) -> TraceReader:
        """The pass over the trace that is under way."""
        return self._reader

    @property
    def is_truncated_here(self) -> bool:
        """Whether nothing comes next because the file ends before the trace does."""
        return self.next_row() is None and self._reader.truncated

    def _open(self) -> None:
        self._reader = self.trace.open()
        try:
            self.header, self.row = self._reader.header, 0
            blocks = self._reader.blocks()
            if self._kept is None:
                self.source = RowSource(self.header)
                self.hosts = open_hosts(self.header, self.variants, Budget())
            else:
                resumed = read(self._kept.path, self.header, self.variants)
                self.source, self.hosts = resumed.source, resumed.hosts
                blocks = resumed.checked(self._reader)
            self.first_operation = self.host.operation_count
            self.first_event = self.source.events
            self._parts = self.source.parts(blocks)
            self._ops, self._at, self._count, self._part, self._mark = None, 0, 0, 0, None
            if self._kept is not None:
                self._check()
        except BaseException:
            self._reader.close()
            raise

    def _check(self) -> None:
        """What was read is what its name said, and of this trace."""
        wanted = (self._kept.events, self._kept.operations) if self._kept else ()
        if (self.first_event, self.first_operation) != wanted:
            raise SnapshotRefused("the snapshot is of another place than its name says")
        self._rows()

    @property
    def rows_left(self) -> int:
        """How many rows of the present part come next; 0 at the end of the trace."""
        return 0 if self._rows() is None else self._count - self._at

    def upcoming(self, rows: int) -> Operations | None:
        """The next rows, at most so many of one part; None at the end of the trace."""
        ops = self._rows()
        if ops is None:
            return None
        return part_of(ops, self._at, self._at + min(rows, self.rows_left))

    def watch(self, watch: Watch) -> None:
        """Put a host that is watched in the place of the one there, in the same state."""
        self.hosts = again(self.hosts, self.header, watch)

    def reach_operation(self, operation: int) -> bool:
        """Advance until ``operation`` comes next; False if the trace ended, or the kernel broke."""
        limit = self.variants[0].parameters.page_limit
        every = 0 if limit is None or isinstance(limit, int) else limit.every
        while (left := operation - self.host.operation_count) > 0:
            # A schedule of the page limit adds operations between the rows.
            if not self.advance_part(max(1, (left - 1) * every // (every + 1)) if every else left):
                return False
        return True

    def reach_event(self, event: int) -> bool:
        """Advance until an operation of ``event`` or a later one comes next, as the other one."""
        while (ops := self._rows()) is not None:
            here = bisect.bisect_left(ops.event, event, self._at, self._count)
            if here > self._at and not self.advance_part(here - self._at):
                return False
            if here < self._count:
                return True
        # Events at the end may have no operation of their own.
        return event <= self.source.events

    def reach_end(self) -> None:
        """Advance to the end of the trace, or to where the kernel breaks."""
        while self._rows() is not None and self.advance_part(self._count - self._at):
            pass

    def advance_part(self, rows: int) -> bool:
        """Advance by at most so many rows; False where there is nothing left to be executed."""
        ops = self._rows()
        if ops is None or self.host.stopped:
            return False
        count = min(rows, self._count - self._at)
        last = Row(*(int(column[self._at + count - 1]) for column in ops))
        self.advance(count)
        if self.host.stopped:
            self.latest = None
            return False
        self.latest = last
        if self.keeps and self.is_at_end_of_part and self._shelf.is_due(self.source.events):
            here = Snapshot(self.source, self.hosts, self._reader)
            self._shelf.put(self.source.events, self.host.operation_count, here.write)
        return True


class Timeline:
    """All places of one variant on one trace; ``look`` is called between parts, and may raise."""

    def __init__(
        self,
        trace: Path,
        variant: Variant,
        shelf: Shelf,
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self.trace = Decoded(trace)
        self.variant, self.shelf, self.look = variant, shelf, look

    def nearest(self, *, operation: int | None = None, event: int | None = None) -> Place:
        """A place before that operation or event, or as far on as there is one, to go on from."""
        for kept in reversed(self.shelf.kept()):
            if (operation is not None and kept.operations >= operation) or (
                event is not None and kept.events >= event
            ):
                continue
            try:
                return Place(self, kept)
            except SnapshotRefused:
                self.shelf.drop(kept)
        return Place(self, None)

    def at_operation(self, operation: int) -> Place:
        """The place where that operation comes next, or where the kernel broke before it.

        Raises:
            InvalidParameter: the trace has not so many, or it comes before the trace's own.
        """
        place = self.nearest(operation=operation)
        with _closed_on_error(place):
            if place.first_operation > operation:
                first = place.first_operation
                reason = f"the first of the trace's own operations is {first}"
                raise InvalidParameter(f"operation {operation}: {reason}")
            if not place.reach_operation(operation) and not place.host.stopped:
                count = place.host.operation_count
                reason = f"beyond the end, there are {count:,} operations"
                raise InvalidParameter(f"operation {operation}: {reason}")
        return place

    def at_event(self, event: int | None) -> Place:
        """The place before that event, at the end for None, or where the kernel broke before it.

        Raises:
            InvalidParameter: the trace has not so many events.
        """
        place = self.nearest(event=event)
        with _closed_on_error(place):
            if event is None:
                place.reach_end()
            elif not place.reach_event(event) and not place.host.stopped:
                reason = f"beyond the end, the trace has {place.source.events:,} events"
                raise InvalidParameter(f"event {event}: {reason}")
        if place.latest is None and place.first_event and not place.host.stopped:
            # It began right there: the operation before is one of an earlier part.
            with place:
                operations = place.host.operation_count
            return self.at_operation(operations)
        return place


@contextlib.contextmanager
def _closed_on_error(place: Place) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(place)
        yield
        stack.pop_all()

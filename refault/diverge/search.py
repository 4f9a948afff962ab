"""Finds the first row at which two hosts differ: a coarse pass over the trace, then row by row.

Both hosts run on lanes of their own, and their readings are compared part by part. Now and then
both are copied, where they still agree. A difference ends the pass; the hosts are taken up at the
latest copy, and run to the row itself::

    ├── copy ───────── copy ────────X          coarse: X, the part or the row that differs
                        └────────┬──x          fine: from the copy to the part, then to the row

Copies are made so seldom that they take a twentieth of the time. Hosts that cannot be copied (a
kernel's program) run from the beginning again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refault.diverge.decoded import Decoded
from refault.diverge.measures import Looks, OutcomeRows, Span
from refault.diverge.position import Position, Saved, can_save, open_hosts, restored, save
from refault.errors import ReplayCancelled
from refault.replay import lanes
from refault.replay.budget import Budget
from refault.replay.lowering.rows import RowSource

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.diverge.measures import Measure
    from refault.engines.base import Host
    from refault.replay.operations import Operations

#: Seconds between two copies: at least so many, and so many times what the latest one took, with
#: the wait for both hosts.
COPY_SECONDS = 0.05
COPY_SHARE = 20
#: Copies that are kept: two, and more while all take no more than this.
COPIES_BYTES_MAX = 256 << 20
COPIES_MAX = 8
#: Rows between two looks while a part is searched.
STRIDE = 128


class Job(NamedTuple):
    """What is compared, and how a caller watches it."""

    trace: Path
    variants: Sequence[Variant]
    threads: int = 1
    progress: Callable[[int, int], None] | None = None
    is_cancelled: Callable[[], bool] | None = None
    memory_bytes: int | None = None
    decoded: Decoded | None = None

    @property
    def events(self) -> Decoded:
        """The trace, of which what is kept is not decoded again."""
        return self.decoded or Decoded(self.trace)

    def look(self) -> None:
        """Raises ReplayCancelled if the caller asks for it."""
        if self.is_cancelled is not None and self.is_cancelled():
            raise ReplayCancelled("cancelled")


class Pass(NamedTuple):
    """What a coarse pass found: where, copies before it in order, and the hosts at its end.

    ``trace_digest`` is None where it ended at the difference.
    """

    span: Span | None
    copies: list[Saved]
    hosts: list[Host]
    rows: int
    trace_digest: str | None
    is_truncated: bool

    @property
    def saved(self) -> Saved | None:
        """The latest copy, or None to begin anew."""
        return self.copies[-1] if self.copies else None


class _Lane:
    """A host in its lane, and its readings of the parts so far."""

    def __init__(self, host: Host, measure: Measure, row: int) -> None:
        self.host = host
        self._measure = measure
        self._row = row
        self.readings: list[Any] = []

    def execute(self, ops: Operations, count: int) -> None:
        self.readings.append(self._measure.run(self.host, ops, count, self._row))
        self._row += count

    def abort(self) -> None:
        self.host.abort()


class _Compared:
    """Takes the readings of both lanes as they come."""

    def __init__(
        self,
        pair: Sequence[_Lane],
        measure: Measure,
        on_part: Callable[[Any, Any], object] | None,
    ) -> None:
        self._lanes = pair
        self._measure = measure
        self._on_part = on_part
        self._done = 0
        self.span: Span | None = None

    def take(self) -> None:
        """Compare the parts that both have finished; the first difference is kept."""
        first, second = (lane.readings for lane in self._lanes)
        while self._done < min(len(first), len(second)):
            mine, yours = first[self._done], second[self._done]
            first[self._done] = second[self._done] = None
            self._done += 1
            if self.span is None:
                self.span = self._measure.difference(mine, yours)
            if self._on_part is not None:
                self._on_part(mine, yours)


def coarse(
    job: Job,
    measure: Measure,
    start: Saved | None = None,
    on_part: Callable[[Any, Any], object] | None = None,
) -> Pass:
    """Run both variants from ``start`` to the first part that differs, or to the end.

    With ``on_part``, which is given both readings of each part, always to the end.
    """
    with job.events.open() as reader:
        if start is None:
            budget = Budget(job.memory_bytes)
            source = RowSource(reader.header, budget)
            hosts = open_hosts(reader.header, job.variants, budget, measure.watch)
        else:
            source, hosts = restored(start, reader.header, job.variants, measure.watch)
        row = 0 if start is None else start.row
        pair = [_Lane(host, measure, row) for host in hosts]
        compared = _Compared(pair, measure, on_part)
        copies = _Copies(start, is_possible=can_save(job.variants))
        blocks = reader.blocks(max(0, source.events - 1))
        parts = lanes.execute(
            pair,
            source.parts(blocks, buffers=lanes.BUFFERS),
            job.threads,
            is_rest=copies.is_due,
            look=job.look,
        )
        is_whole = True
        with contextlib.closing(parts):
            for _, count, _ in parts:
                row += count
                if job.progress is not None:
                    job.progress(reader.read_bytes, reader.size_bytes)
                compared.take()
                copies.is_over = compared.span is not None
                if compared.span is not None and on_part is None:
                    is_whole = False
                    break
                if copies.rests and compared.span is None:
                    copies.make(row, source, hosts)
        compared.take()
        digest = reader.summary.digest if is_whole else None
        is_truncated = is_whole and reader.truncated
        return Pass(compared.span, copies.kept, hosts, row, digest, is_truncated)


class _Copies:
    """When a copy of both hosts is due, and some of those that were made, the latest included."""

    def __init__(self, start: Saved | None, *, is_possible: bool) -> None:
        self.kept = [] if start is None else [start]
        self.rests = False
        #: A difference was found: no later copy is of use.
        self.is_over = False
        self._is_possible = is_possible
        self._asked = time.perf_counter()
        self._due = self._asked + COPY_SECONDS

    def is_due(self, taken: int) -> bool:
        """Whether both hosts must rest after this part, to be copied."""
        del taken
        now = time.perf_counter()
        self.rests = self._is_possible and not self.is_over and now >= self._due
        self._asked = now
        return self.rests

    def make(self, row: int, source: RowSource, hosts: Sequence[Host]) -> None:
        """Copy them; they have executed ``row`` rows, and all that the source has made."""
        latest = save(row, source, hosts)
        self.kept.append(latest)
        most = max(2, min(COPIES_MAX, COPIES_BYTES_MAX // latest.size_bytes))
        if len(self.kept) > most:
            # Every second one goes, so that what is kept lies at all distances.
            self.kept = [*self.kept[:-1][::2], latest][-most:]
        now = time.perf_counter()
        self._due = now + max(COPY_SECONDS, COPY_SHARE * (now - self._asked))


def stop_before(at: Position, measure: Looks, span: Span) -> int:
    """Take both hosts to the row after which they differ first, and no further.

    ``span`` is where the coarse pass found it. It is looked for at every ``STRIDE``th row first,
    and then at each.
    """
    for stride in (STRIDE, 1):
        at.back_to(span.first)
        if span.last - span.first > stride:
            span = _first_other(at, measure, span, stride)
    at.back_to(span.first)
    return span.first


def _first_other(at: Position, measure: Looks, span: Span, stride: int) -> Span:
    """The rows, at most ``stride``, after which a look finds the first difference."""
    at.mark()
    while at.row < span.last:
        if at.is_at_end_of_part:
            at.mark()
        before = at.row
        at.advance(min(stride, span.last - before))
        first, second = (measure.look(host) for host in at.hosts)
        if first != second:
            return Span(before, at.row)
    return span


def alike_until(at: Position, measure: Looks, row: int) -> Span:
    """The latest look before ``row`` at which both were alike, and the next one.

    They are alike where ``at`` is. Looks are at the same rows wherever that is.
    """
    first, last = at.row, row
    while at.row < row:
        before = at.row
        at.advance(min(measure.next_look(before), row) - before)
        mine, yours = (measure.look(host) for host in at.hosts)
        if mine == yours:
            first, last = at.row, row
        elif last == row:
            last = at.row
    return Span(first, last)


def stop_before_outcome(at: Position, measure: OutcomeRows, span: Span) -> int:
    """Take both hosts to the first row of the span that comes out otherwise, and no further."""
    at.advance(span.first - at.row)
    if span.last - span.first > 1:
        at.mark()
        while at.row < span.last and measure.difference(*at.step(measure.run)) is None:
            pass
        at.back_to(at.row - 1)
    return at.row

"""What is compared: what guest and host see, the shadow pages there are, or one counter.

A reading says something of every row of a part, so that the first row at which two hosts differ
follows from two readings, exactly or up to the rows between two looks.
"""

from __future__ import annotations

import abc
import bisect
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from refault.diverge.position import Saved, part_of
from refault.diverge.shadow_pages import page_rows, pages_of, rows_hash
from refault.engines.base import Watch
from refault.engines.shadow.state.machine import Machine
from refault.errors import InvalidParameter
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay.outcomes import OutcomeDigest
from refault.results import SHADOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host
    from refault.replay.operations import Operations

#: A trace of operations is looked at after each of its first rows, then, and a capture always,
#: after so many at a time.
EXACT_ROWS = 8192
ROWS_AT_ONCE = 4096
#: Words of a page as a kernel's program lists it.
KERNEL_PAGE_WORDS = 5
#: The code of a row at which a kernel broke.
BROKE = 15


class Span(NamedTuple):
    """Row ``first`` + 1 to ``last``: the first difference is after one of them."""

    first: int
    last: int


class Measure(Protocol):
    """What a coarse pass reads of each host, and where two readings differ first."""

    watch: Watch

    def run(self, host: Host, ops: Operations, count: int, row: int) -> Any:
        """Let the host execute a part that begins after ``row`` rows; answers its reading."""

    def difference(self, first: Any, second: Any) -> Span | None:
        """The rows between which two readings of one part begin to differ."""


# --- outcomes -------------------------------------------------------------------------------

_OF_ADDRESS = (op.LD, op.EX, op.ST, op.ST4, op.ST2, op.ST1, op.INVLPG, op.UNPROTECT)
_OF_GFN = (op.UNMAP, op.AGE, op.CHANGE_PTE, op.UNMAP_RANGE)
_TABLE_SHIFT = 21  # what a last-level table of 8-byte entries maps


def places_of(kind: Any, a: Any) -> Any:
    """Where operations look: 2 MiB of addresses, a frame, or only their kind."""
    kinds, values = np.asarray(kind, np.int64), np.asarray(a, np.int64)
    elsewhere = np.where(np.isin(kinds, _OF_GFN), (1 << 50) + values, (1 << 51) + kinds)
    return np.where(np.isin(kinds, _OF_ADDRESS), values >> _TABLE_SHIFT, elsewhere)


def has_address(kind: int) -> bool:
    """Whether ``a`` of an operation is a linear address."""
    return kind in _OF_ADDRESS


class Kept(NamedTuple):
    """Outcomes of a part: event, outcome, address or code or answer, value; as bytes.

    ``events`` are those of the part's rows.
    """

    row: int
    seen: bytes
    events: Any


class Outcomes:
    """What guest and host see of every operation: the bytes that the digest of outcomes covers.

    Between two engines the answers to the host (how many pages an unmap found, say) are left out:
    each counts its own.
    """

    watch = Watch()

    def __init__(self, variants: Sequence[Variant]) -> None:
        self._of_guest_only = len({variant.engine for variant in variants}) > 1

    def run(self, host: Host, ops: Operations, count: int, row: int) -> Kept:
        """The outcomes of the part, which are made for the digest anyway."""
        stream = host.notes.outcomes
        if not isinstance(stream, _Keeping):
            stream = host.notes.outcomes = _Keeping(stream)
        was_stopped = host.stopped
        host.execute(ops, count)
        seen = stream.take()
        stopped = host.notes.findings.stopped
        if stopped is not None and host.stopped and not was_stopped:
            seen += np.array([stopped.event_index, BROKE, 0, 0], "<i8").tobytes()
        return Kept(row, seen, np.array(ops.event[:count], np.int64))

    def difference(self, first: Kept, second: Kept) -> Span | None:
        """The rows of the first event that one of them lacks, or has otherwise."""
        if first.seen == second.seen:
            return None
        views = [np.frombuffer(each.seen, "<i8").reshape(-1, 4) for each in (first, second)]
        if self._of_guest_only:
            views = [view[view[:, 1] != out.RETURN] for view in views]
        place = _first_other(*views)
        events = [int(view[place, 0]) for view in views if place < len(view)]
        if not events:
            return None
        rows = [
            first.row + int(np.searchsorted(first.events, min(events), side))
            for side in ("left", "right")
        ]
        return Span(rows[0], rows[1])


class _Keeping(OutcomeDigest):
    """A digest of outcomes that also keeps what it was given last."""

    def __init__(self, digest: OutcomeDigest) -> None:
        super().__init__()
        link, rest, self._size_bytes = digest.state
        self.lawful = digest.lawful
        self._link, self._rest = link, bytearray(rest)
        self._pieces: list[bytes] = []

    def append(self, seen: bytes, lawful: bytes | None = None) -> None:
        """Append rows; what is kept is without what a dirty log may hold beyond its due."""
        super().append(seen, lawful)
        if lawful is not None:
            self._pieces[-1] = lawful

    def update(self, data: bytes) -> None:
        """Append ``data``."""
        super().update(data)
        self._pieces.append(data)

    def take(self) -> bytes:
        """What it was given since the last call."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _first_other(first: Any, second: Any) -> int:
    """The place of the first row by which two arrays differ; behind the end if they do not."""
    shared = min(len(first), len(second))
    other = np.flatnonzero((first[:shared] != second[:shared]).any(axis=1))
    return int(other[0]) if len(other) else shared


class OutcomeRows:
    """The same by rows, for one after the other; differences at places in ``ignored`` are none."""

    watch = Watch()

    def __init__(self, variants: Sequence[Variant], ignored: Sequence[int] = ()) -> None:
        self._of_guest_only = len({variant.engine for variant in variants}) > 1
        self._ignored = tuple(ignored)

    def run(self, host: Host, ops: Operations, count: int, row: int) -> Any:
        """Rows of the part: row, outcome, address or code or answer, value."""
        was_stopped, before = host.stopped, host.operation_count
        host.notes.findings.raw = []
        host.execute(ops, count)
        seen = seen_of(host.notes.findings.raw)
        host.notes.findings.raw = None
        if self._of_guest_only:
            seen = seen[seen[:, 1] != out.RETURN]
        if host.stopped and not was_stopped:
            at = stop_row(host, ops, count, before)
            broke = np.array([[at, BROKE, 0, 0]], np.int64)
            seen = np.concatenate((seen[seen[:, 0] < at], broke))
        if self._ignored:
            places = places_of(ops.kind[:count], ops.a[:count])
            seen = seen[~np.isin(places[seen[:, 0]], self._ignored)]
        seen[:, 0] += row
        return seen

    def difference(self, first: Any, second: Any) -> Span | None:
        """The first row that one of them lacks, or has otherwise."""
        at = _first_other(first, second)
        rows = [int(seen[at, 0]) for seen in (first, second) if at < len(seen)]
        return Span(min(rows), min(rows) + 1) if rows else None


def seen_of(raw: list[Any] | None) -> Any:
    """Records as rows: place in the part, outcome, address or code or answer, value.

    Of a dirty log that was held against what was written: only how many pages it lacks.
    """
    if not raw:
        return np.zeros((0, 4), np.int64)
    records = np.concatenate(raw)
    seen = records[:, [rec.ROW, rec.CODE, rec.ADDRESS, rec.VALUE]]
    probes = records[:, rec.PROBE]
    is_log = (seen[:, 1] == out.RETURN) & (probes & rec.LOG_JUDGED != 0)
    seen[is_log, 2], seen[is_log, 3] = probes[is_log] >> rec.LOST_SHIFT, 0
    seen[seen[:, 1] == out.PF_DIRECT, 1] = out.PF
    return seen


def stop_row(host: Host, ops: Operations, count: int, before: int) -> int:
    """The row of a part at which the host's kernel broke."""
    if host.variant.parameters.page_limit is None:
        return min(count - 1, host.operation_count - before)
    # Changes of the limit are operations, but no rows.
    stopped = host.notes.findings.stopped
    event = 0 if stopped is None else stopped.event_index
    return min(count - 1, bisect.bisect_left(ops.event, event, 0, count))


# --- pages and totals -------------------------------------------------------------------------


class Looks(abc.ABC):
    """Readings taken every so many rows; those of two hosts are at the same rows."""

    watch = Watch()

    def __init__(self, *, is_exact: bool) -> None:
        self._exact_rows = EXACT_ROWS if is_exact else 0

    @abc.abstractmethod
    def look(self, host: Host) -> int | str:
        """What is compared."""

    def run(self, host: Host, ops: Operations, count: int, row: int) -> Any:
        """What was seen after which row, for each look."""
        looks, at = [], 0
        while at < count:
            end = min(count, self.next_look(row + at) - row)
            host.execute(part_of(ops, at, end), end - at)
            looks.append((row + at, row + end, self.look(host)))
            at = end
        return looks

    def next_look(self, row: int) -> int:
        """The row of the next look after ``row``."""
        if row < self._exact_rows:
            return row + 1
        return row - row % ROWS_AT_ONCE + ROWS_AT_ONCE

    def difference(self, first: Any, second: Any) -> Span | None:
        """The rows before the first look at which they differ."""
        for mine, yours in zip(first, second, strict=True):
            if mine[2] != yours[2]:
                return Span(mine[0], mine[1])
        return None


class Pages(Looks):
    """The shadow pages in use: gfn, role, unsync, unsync children, root count.

    Bits of a role that only one of the variants keeps are left out, and pages of the frames in
    ``ignored``; with ``only``, all pages but those of these frames. What differs and is equal
    again between two looks is not seen.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        *,
        is_exact: bool,
        ignored: Sequence[int] = (),
        only: Sequence[int] = (),
    ) -> None:
        super().__init__(is_exact=is_exact)
        engines = {variant.engine for variant in variants}
        if engines == {"walk"} or len(engines) > 1:
            raise InvalidParameter("--on pages compares variants of one engine that has pages")
        self._is_model = engines == {SHADOW}
        self._variants = variants
        self._ignored = np.array(ignored, np.int64)
        self._only = np.array(only, np.int64)

    def look(self, host: Host) -> int | str:
        """A digest of the pages."""
        if self._is_model:
            return self._digest(pages_of(host))
        # Of a kernel also how many entries of each page are present.
        return self._hash(np.array(host.page_set(), np.int64).reshape(-1, KERNEL_PAGE_WORDS))

    def are_alike(self, saved: Saved) -> bool:
        """Whether two copied hosts of the model have the same pages."""
        pages = Machine._fields.index("page")
        first, second = (self._digest(host.words[pages]) for host in saved.hosts)
        return first == second

    def _digest(self, pages: Any) -> int:
        return self._hash(page_rows(pages, self._variants))

    def _hash(self, rows: Any) -> int:
        if len(self._ignored):
            rows = rows[~np.isin(rows[:, 0], self._ignored)]
        if len(self._only):
            rows = rows[np.isin(rows[:, 0], self._only)]
        return rows_hash(rows)


class Total(Looks):
    """A counter whose value is only known between two executions."""

    def __init__(self, name: str, *, is_exact: bool) -> None:
        super().__init__(is_exact=is_exact)
        self.name = name

    def look(self, host: Host) -> int:
        """The counter."""
        return counter_of(host, self.name)


def counter_of(host: Host, name: str) -> int:
    """A counter of a host, also one of those that are no KVM statistic.

    Raises:
        InvalidParameter: its engine has none of that name.
    """
    counters = host.counters() | host.work()
    if name not in counters:
        known = ", ".join(counters) or "none"
        raise InvalidParameter(
            f"--on {name}: {host.variant.name} has no such counter; it has {known}"
        )
    return counters[name]

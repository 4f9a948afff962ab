"""Two hosts at a row of the trace: opened, saved in memory, restored, advanced.

A row is counted over the whole trace, whatever parts it was made in. Where both engines resume, a
pair can be saved; otherwise it begins anew, at the first row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from refault.engines import get_engine
from refault.engines.base import Watch
from refault.errors import ReplayRefused
from refault.replay.budget import Budget
from refault.replay.compile.jit import native
from refault.replay.lowering.known_memory import Lowering
from refault.replay.lowering.rows import RowSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from refault.catalogue import Variant
    from refault.diverge.decoded import Decoded
    from refault.engines.base import Host
    from refault.replay.operations import Operations
    from refault.trace import TraceHeader


class Row(NamedTuple):
    """One row, as numbers that stay when its part is overwritten."""

    kind: int
    vcpu: int
    user: int
    aux: int
    cls: int
    a: int
    b: int
    want: int
    event: int


class SavedHost(NamedTuple):
    """What one host remembered."""

    operation_count: int
    notes: dict[str, Any]
    head: dict[str, Any]
    words: list[Any]


class Saved(NamedTuple):
    """A pair of hosts after ``row`` rows, and the lowering that makes the next ones."""

    row: int
    events: int
    lowering: list[Any]
    hosts: list[SavedHost]

    @property
    def size_bytes(self) -> int:
        """What its arrays take."""
        arrays = [*self.lowering, *(words for host in self.hosts for words in host.words)]
        return sum(each.nbytes for each in arrays)


def part_of(ops: Operations, start: int, end: int) -> Operations:
    """Rows ``start`` to ``end`` - 1."""
    return type(ops)(*(column[start:end] for column in ops))


def can_save(variants: Sequence[Variant]) -> bool:
    """Whether hosts of all these variants can be stored."""
    return all(get_engine(variant.engine).resumes for variant in variants)


def open_hosts(
    header: TraceHeader, variants: Sequence[Variant], budget: Budget, watch: Watch | None = None
) -> list[Host]:
    """A host for each variant, before the first row.

    Raises:
        ReplayRefused: an engine cannot replay the trace.
    """
    hosts = []
    for variant in variants:
        engine = get_engine(variant.engine)
        if reason := engine.refuses(header, variant):
            raise ReplayRefused(f"engine {engine.name} cannot replay this: {reason}")
        hosts.append(engine.open(variant, header, budget, watch or Watch()))
    if header.content == "capture":
        for host in hosts:
            host.begin()
    return hosts


def save(row: int, source: RowSource, hosts: Sequence[Host]) -> Saved:
    """Copy everything; the next part asked of ``source`` must be the one after ``row``."""
    return Saved(
        row,
        source.events,
        [np.array(words, np.int64) for words in source.lowering],
        [_saved(host) for host in hosts],
    )


def _saved(host: Host) -> SavedHost:
    head, words = host.pack()
    copies = [np.array(each, np.int64) for each in words]
    return SavedHost(host.operation_count, host.notes.pack(), dict(head), copies)


def restored(
    saved: Saved, header: TraceHeader, variants: Sequence[Variant], watch: Watch | None = None
) -> tuple[RowSource, list[Host]]:
    """Source and hosts as they were; ``saved`` itself stays as it is."""
    source = RowSource(header)
    source.events = saved.events
    source.lowering = Lowering(*(native(words.copy()) for words in saved.lowering))
    return source, _hosts(saved.hosts, header, variants, watch)


def _hosts(
    saved: Sequence[SavedHost],
    header: TraceHeader,
    variants: Sequence[Variant],
    watch: Watch | None = None,
) -> list[Host]:
    hosts = []
    for variant, kept in zip(variants, saved, strict=True):
        host = get_engine(variant.engine).open(variant, header, Budget(), watch or Watch())
        host.operation_count = kept.operation_count
        host.notes.restore(kept.notes)
        host.restore(kept.head, [len(each) for each in kept.words], _Reader(kept.words))
        hosts.append(host)
    return hosts


def again(hosts: Sequence[Host], header: TraceHeader, watch: Watch) -> list[Host]:
    """Hosts in the same state that note what ``watch`` says."""
    return _hosts([_saved(host) for host in hosts], header, [h.variant for h in hosts], watch)


class _Reader:
    """Gives copies of the arrays, one after the other."""

    def __init__(self, words: Sequence[Any]) -> None:
        self._words = iter(words)

    def __call__(self, count: int) -> Any:
        found = next(self._words)
        if len(found) != count:
            raise AssertionError("arrays are read in the order in which they were kept")
        return found.copy()


class _Mark(NamedTuple):
    """Both hosts at a row of a part that is still there."""

    row: int
    part: int
    at: int
    hosts: list[SavedHost]


class Position:
    """Both hosts at a row; a context manager.

    ``look`` is called between parts; what it raises ends the advance.
    """

    def __init__(
        self,
        trace: Decoded,
        variants: Sequence[Variant],
        saved: Saved | None,
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self.trace, self.variants, self._saved, self._look = trace, variants, saved, look
        self._open()

    def _open(self) -> None:
        self._reader = self.trace.open()
        try:
            self.header = self._reader.header
            if self._saved is None:
                self.row = 0
                self.source = RowSource(self.header)
                self.hosts = open_hosts(self.header, self.variants, Budget())
            else:
                self.row = self._saved.row
                self.source, self.hosts = restored(self._saved, self.header, self.variants)
            blocks = self._reader.blocks(max(0, self.source.events - 1))
            self._parts = self.source.parts(blocks)
        except BaseException:
            self._reader.close()
            raise
        self._ops: Operations | None = None
        self._at = self._count = self._part = 0
        self._mark: _Mark | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._parts.close()  # type: ignore[attr-defined]
        self._reader.close()
        for host in self.hosts:
            host.abort()

    def mark(self) -> None:
        """Remember both hosts, for :meth:`back_to` in the same part."""
        if can_save(self.variants) and self._rows() is not None:
            kept = [_saved(host) for host in self.hosts]
            self._mark = _Mark(self.row, self._part, self._at, kept)

    def back_to(self, row: int) -> None:
        """Go back to a row: from the mark, or from where this position began."""
        mark = self._mark
        if mark is not None and mark.part == self._part and mark.row <= row:
            self.hosts = _hosts(mark.hosts, self.header, self.variants)
            self.row, self._at = mark.row, mark.at
        else:
            self._close()
            self._open()
        self.advance(row - self.row)

    @property
    def is_at_end_of_part(self) -> bool:
        """Whether the next row is one of another part, which makes the mark useless."""
        return self._at == self._count

    def next_row(self) -> Row | None:
        """The row that comes next, or None at the end of the trace."""
        ops = self._rows()
        return None if ops is None else Row(*(int(column[self._at]) for column in ops))

    def advance(self, rows: int) -> None:
        """Execute so many rows, or all that are left."""
        left = rows
        while left > 0 and (ops := self._rows()) is not None:
            self._look()
            count = min(left, self._count - self._at)
            part = part_of(ops, self._at, self._at + count)
            for host in self.hosts:
                host.execute(part, count)
            self._at += count
            self.row += count
            left -= count

    def step(self, run: Callable[[Host, Operations, int, int], Any]) -> list[Any]:
        """Let ``run`` execute one row on each host; answers what it read of them."""
        ops = self._rows()
        if ops is None:
            raise AssertionError("the row is in the trace")
        part = part_of(ops, self._at, self._at + 1)
        found = [run(host, part, 1, self.row) for host in self.hosts]
        self._at += 1
        self.row += 1
        return found

    def _rows(self) -> Operations | None:
        while self._ops is None or self._at == self._count:
            part = next(self._parts, None)
            if part is None:
                return None
            self._ops, self._count, _ = part
            self._at = 0
            self._part += 1
        return self._ops

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
from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from refault.catalogue import Variant
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
    hosts = []
    for variant, kept in zip(variants, saved.hosts, strict=True):
        host = get_engine(variant.engine).open(variant, header, Budget(), watch or Watch())
        host.operation_count = kept.operation_count
        host.notes.restore(kept.notes)
        host.restore(kept.head, [len(each) for each in kept.words], _Reader(kept.words))
        hosts.append(host)
    return source, hosts


class _Reader:
    """Gives copies of the arrays, one after the other."""

    def __init__(self, words: Sequence[Any]) -> None:
        self._words = iter(words)

    def __call__(self, count: int) -> Any:
        found = next(self._words)
        if len(found) != count:
            raise AssertionError("arrays are read in the order in which they were kept")
        return found.copy()


class Position:
    """Both hosts at a row; a context manager. It goes forward only.

    ``look`` is called between parts; what it raises ends the advance.
    """

    def __init__(
        self,
        trace: Path,
        variants: Sequence[Variant],
        saved: Saved | None,
        look: Callable[[], object] = lambda: None,
    ) -> None:
        self._look = look
        self._trace = TraceReader(trace, allow_truncated=True)
        try:
            self.header = self._trace.header
            if saved is None:
                self.row = 0
                self.source = RowSource(self.header)
                self.hosts = open_hosts(self.header, variants, Budget())
            else:
                self.row = saved.row
                self.source, self.hosts = restored(saved, self.header, variants)
            blocks = self._trace.blocks(max(0, self.source.events - 1))
            self._parts = self.source.parts(blocks)
        except BaseException:
            self._trace.close()
            raise
        self._ops: Operations | None = None
        self._at = self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._parts.close()  # type: ignore[attr-defined]
        self._trace.close()
        for host in self.hosts:
            host.abort()

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

    def _rows(self) -> Operations | None:
        while self._ops is None or self._at == self._count:
            part = next(self._parts, None)
            if part is None:
                return None
            self._ops, self._count, _ = part
            self._at = 0
        return self._ops

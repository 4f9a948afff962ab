"""A trace whose decoded events are kept in memory, for whoever goes over it again and again.

To find one operation, a trace is taken up at several places before it. Each time the block of
events around the place would be decompressed and decoded again, which takes longer than the
operations themselves. What was decoded last is kept instead, within :data:`BYTES_MAX`.
"""

from __future__ import annotations

import bisect
import collections
from typing import TYPE_CHECKING, NamedTuple

from refault.trace import TraceReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from refault.trace import Block, TraceSummary

#: About four million events.
BYTES_MAX = 96 << 20


class _Slice(NamedTuple):
    """Some events, and the digest of the trace up to the end of their block."""

    block: Block
    framed_digest: str

    @property
    def end(self) -> int:
        """The event after the last one."""
        return self.block.first_event_index + self.block.event_count

    @property
    def size_bytes(self) -> int:
        """What the columns take."""
        return sum(column.nbytes for column in self.block[1:])


class Decoded:
    """The events of the trace at ``path`` that were decoded last, in at most ``bytes_max``."""

    def __init__(self, path: Path, bytes_max: int = BYTES_MAX) -> None:
        self.path = path
        self.summary: TraceSummary | None = None
        self._bytes_max = bytes_max
        self._size_bytes = 0
        self._slices: collections.OrderedDict[int, _Slice] = collections.OrderedDict()
        self._firsts: list[int] = []

    def open(self) -> TraceReader:
        """A reader for one pass, which decodes only what is not kept.

        Raises:
            TraceError: as :class:`refault.trace.TraceReader`.
        """
        return _Reader(self)

    def find(self, event: int) -> _Slice | None:
        """The kept events with this one among them."""
        at = bisect.bisect_right(self._firsts, event) - 1
        if at < 0 or self._slices[self._firsts[at]].end <= event:
            return None
        self._slices.move_to_end(self._firsts[at])
        return self._slices[self._firsts[at]]

    def keep(self, block: Block, framed_digest: str) -> None:
        """Keep these events, and drop those that were not asked for the longest."""
        first = block.first_event_index
        if first in self._slices:
            return
        new = self._slices[first] = _Slice(block, framed_digest)
        bisect.insort(self._firsts, first)
        self._size_bytes += new.size_bytes
        while self._size_bytes > self._bytes_max:
            oldest, dropped = self._slices.popitem(last=False)
            self._firsts.remove(oldest)
            self._size_bytes -= dropped.size_bytes


class _Reader(TraceReader):
    """A pass over the trace that takes what is kept, and decodes and keeps the rest."""

    def __init__(self, decoded: Decoded) -> None:
        super().__init__(decoded.path, allow_truncated=True)
        self._decoded = decoded
        self._taken: _Slice | None = None

    @property
    def framed_digest(self) -> str:
        """SHA-256 (hex) of the trace up to the end of the last block that was yielded."""
        return super().framed_digest if self._taken is None else self._taken.framed_digest

    @property
    def read_bytes(self) -> int:
        """How far the pass is, as bytes of the file: for progress bars."""
        whole = self._decoded.summary
        if self._taken is None or whole is None or not whole.event_count:
            return super().read_bytes
        return self.size_bytes * self._taken.end // whole.event_count

    def blocks(self, first_event: int = 0) -> Iterator[Block]:
        """The events from those with ``first_event`` on; may be called once.

        Raises:
            TraceError: a byte of what is not kept is invalid.
        """
        at = first_event
        while (kept := self._decoded.find(at)) is not None:
            self._taken, at = kept, kept.end
            yield kept.block
        whole = self._decoded.summary
        if whole is not None and at >= whole.event_count:
            self._summary = whole
            return
        self._taken = None
        for block in super().blocks(at):
            self._decoded.keep(block, self.framed_digest)
            if block.first_event_index + block.event_count > at:
                yield block
        self._decoded.summary = self._summary

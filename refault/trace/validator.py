"""Checks a trace while it arrives, without keeping it."""

from __future__ import annotations

from refault.trace.decoder import TraceDecoder
from refault.trace.model import TraceHeader, TraceSummary
from refault.trace.statistics import TraceStatistics


class TraceValidator:
    """Push parser for uploads: refuses a bad trace at the first byte that shows it.

    Holds at most one compressed and one decoded block.
    """

    def __init__(self) -> None:
        self._decoder = TraceDecoder()
        self._statistics: TraceStatistics | None = None

    @property
    def statistics(self) -> TraceStatistics:
        """What the blocks so far showed."""
        if self._statistics is None:
            self._statistics = TraceStatistics(self.header.guest_mode if self.header else "long")
        return self._statistics

    @property
    def header(self) -> TraceHeader | None:
        """The header, once its bytes came."""
        return self._decoder.header

    @property
    def size_bytes(self) -> int:
        """How many bytes were fed so far."""
        return self._decoder.size_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes, any number of them.

        Raises:
            TraceError: the trace is wrong; ``offset`` is the byte. Feed nothing after that.
        """
        for block in self._decoder.feed(data):
            self.statistics.add(block)

    def close(self) -> TraceSummary:
        """What the trace held; call it after the last byte.

        Raises:
            TraceError: the trace is not whole.
        """
        return self._decoder.finish()

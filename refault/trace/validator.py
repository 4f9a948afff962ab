"""Checks a trace while it arrives, without keeping it."""

from __future__ import annotations

from concurrent.futures import Executor, Future

from refault.errors import TraceError
from refault.trace.decoder import TraceDecoder
from refault.trace.format import TAG_BLOCK
from refault.trace.frames import Frame, ReadBack
from refault.trace.model import TraceHeader, TraceSummary
from refault.trace.statistics import TraceStatistics


class TraceValidator:
    """Push parser for uploads: refuses a bad trace at the first byte that shows it.

    Holds at most one compressed and one decoded block. With ``read_back``, which reads bytes that
    were fed, it holds no compressed block but for the time it is decoded; with ``decoding`` that
    is done there, while the next block comes in, and a bad block is refused a little later.
    """

    def __init__(self, read_back: ReadBack | None = None, decoding: Executor | None = None) -> None:
        self._decoder = TraceDecoder(read_back)
        self._decoding = decoding
        self._under_way: Future[None] | None = None
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
        try:
            for frame in self._decoder.frames(data):
                self.settle()
                if self._decoding is None or frame.tag != TAG_BLOCK:
                    self._take(frame)
                else:
                    self._under_way = self._decoding.submit(self._take, frame)
        except TraceError:
            # What is wrong in the block before is the first that is.
            self.settle()
            raise

    def settle(self) -> None:
        """Waits until all that was fed has been checked; raises as ``feed`` does."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def go_on_reading_from(self, read_back: ReadBack) -> None:
        """What was fed is read back from there, from now on."""
        self._decoder.go_on_reading_from(read_back)

    def abandon(self) -> None:
        """Waits until nothing is read back any more; what is wrong with the trace is not told."""
        if self._under_way is not None:
            self._under_way.exception()

    def close(self) -> TraceSummary:
        """What the trace held; call it after the last byte.

        Raises:
            TraceError: the trace is not whole.
        """
        self.settle()
        return self._decoder.finish()

    def _take(self, frame: Frame) -> None:
        for block in self._decoder.take(frame):
            self.statistics.add(block)

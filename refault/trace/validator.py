"""Checks a trace while it arrives, without keeping it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from refault.errors import TraceError
from refault.trace.contents import TraceHeader, TraceSummary
from refault.trace.costs import TraceCosts
from refault.trace.decoder import TraceDecoder
from refault.trace.format import TAG_BLOCK, TAG_HEADER
from refault.trace.frames import Frame, ReadBack
from refault.trace.header import check_text
from refault.trace.packed import Rooms
from refault.trace.statistics import TraceStatistics

FRAMES_AHEAD = 4
"""Blocks that may have arrived and wait to be checked; none of them is held in memory."""


class TraceValidator:
    """Push parser for uploads: refuses a bad trace at the first byte that shows it.

    Holds at most one compressed and one decoded block. With ``read_back``, which reads bytes that
    were fed, a compressed block is held only while it is decoded. With ``decoding`` as well, blocks
    are decoded in that executor while the next ones arrive, and a bad one is refused a little
    later. Validators that share ``rooms`` hold as many decoded blocks as they decode at a time.
    """

    def __init__(
        self,
        read_back: ReadBack | None = None,
        decoding: Executor | None = None,
        rooms: Rooms | None = None,
    ) -> None:
        self._decoder = TraceDecoder(read_back, rooms)
        self._beside = _Beside(decoding, self._take) if decoding and read_back else None
        self._statistics: TraceStatistics | None = None
        self._costs: TraceCosts | None = None

    @property
    def statistics(self) -> TraceStatistics:
        """The statistics of the blocks so far."""
        if self._statistics is None:
            header = self.header
            self._statistics = (
                TraceStatistics(header.guest_mode, header.content)
                if header
                else TraceStatistics("long")
            )
        return self._statistics

    @property
    def costs(self) -> TraceCosts | None:
        """What replaying the blocks so far costs; None before the header."""
        if self._costs is None and self.header is not None:
            self._costs = TraceCosts(self.header)
        return self._costs

    @property
    def header(self) -> TraceHeader | None:
        """The header; None until all its bytes were fed."""
        return self._decoder.header

    @property
    def size_bytes(self) -> int:
        """How many bytes were fed so far."""
        return self._decoder.size_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Check the next bytes, any number of them.

        Raises:
            TraceError: the trace is invalid; ``offset`` is the byte. Feed nothing after that.
        """
        try:
            for frame in self._decoder.frames(data):
                if self._beside is not None and frame.tag == TAG_BLOCK:
                    self._beside.put(frame)
                else:
                    self.settle()
                    self._take(frame)
        except TraceError:
            # An error in a block before this one comes first.
            self.settle()
            raise

    def settle(self) -> None:
        """Wait until all that was fed has been checked; raises as ``feed`` does."""
        if self._beside is not None:
            self._beside.settle()

    def read_back_from(self, read_back: ReadBack) -> None:
        """From now on, read what was fed back with this function."""
        self._decoder.read_back_from(read_back)

    def abandon(self) -> None:
        """Wait until nothing is read back any more; errors of the trace are dropped."""
        if self._beside is not None:
            self._beside.abandon()

    def close(self) -> TraceSummary:
        """The summary of the trace; call it after the last byte.

        Raises:
            TraceError: the trace is incomplete.
        """
        self.settle()
        return self._decoder.finish()

    def _take(self, frame: Frame) -> None:
        for block, places in self._decoder.slices(frame):
            self.statistics.add(block, places)
            if self.costs is not None:
                self.costs.add(block, places)
            del block, places  # free them before the next are made
        if frame.tag == TAG_HEADER and self.header is not None:
            check_text(self.header, offset=frame.offset)


class _Beside:
    """Checks frames in an executor, in order, while others arrive.

    One at a time, so that other validators get their turn in between.
    """

    def __init__(self, executor: Executor, take: Callable[[Frame], None]) -> None:
        self._executor = executor
        self._take = take
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()  # the first is being checked
        self._error: BaseException | None = None

    def put(self, frame: Frame) -> None:
        """Add a frame as soon as there is room; raises the error of an earlier one."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < FRAMES_AHEAD)
            self._raise()
            self._frames.append(frame)
            if len(self._frames) == 1:
                self._executor.submit(self._check_first)

    def settle(self) -> None:
        """Wait for all of them; raises the error of one."""
        with self._changed:
            self._changed.wait_for(lambda: not self._frames)
            self._raise()

    def abandon(self) -> None:
        """Wait for the one that is being checked; the others are dropped."""
        with self._changed:
            while len(self._frames) > 1:
                self._frames.pop()
            self._changed.wait_for(lambda: not self._frames)
            self._error = None

    def _check_first(self) -> None:
        error: BaseException | None = None
        try:
            self._take(self._frames[0])
        except BaseException as found:  # noqa: BLE001  # raised by the thread that feeds
            error = found
        with self._changed:
            self._frames.popleft()
            if error is None and self._frames:
                try:
                    self._executor.submit(self._check_first)
                except RuntimeError as closed:
                    error = closed
            if error is not None:
                self._error = error
                self._frames.clear()
            self._changed.notify_all()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

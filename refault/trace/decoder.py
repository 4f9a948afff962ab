"""Decodes and checks the bytes of a trace; shared by reader and validator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from refault.errors import TraceTruncated
from refault.trace.contents import Block, TraceHeader, TraceSummary
from refault.trace.format import TAG_BLOCK, TAG_HEADER
from refault.trace.frames import Frame, FrameParser, ReadBack
from refault.trace.header import unpack_header
from refault.trace.packed import Rooms, read_block
from refault.trace.rules import Column, EventRules
from refault.trace.totals import Index, Totals
from refault.trace.unpacking import BlockUnpacker


class TraceDecoder:
    """Push parser of a trace: feed it bytes as they come, take the blocks they complete."""

    def __init__(self, read_back: ReadBack | None = None, rooms: Rooms | None = None) -> None:
        self._rooms = rooms or Rooms()
        self.header: TraceHeader | None = None
        self._frames = FrameParser(read_back)
        self._totals = Totals()
        self._rules: EventRules | None = None
        self._recorded: dict[str, int] = {}

    @property
    def size_bytes(self) -> int:
        """How many bytes were fed so far."""
        return self._frames.size_bytes

    def read_back_from(self, read_back: ReadBack) -> None:
        """From now on, read blocks back with this function."""
        self._frames.read_back = read_back

    @property
    def framed_digest(self) -> str:
        """SHA-256 (hex) of the trace up to the end of the last block that was yielded."""
        return self._frames.framed_digest

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Block]:
        """The blocks that ``data`` completes; exhaust the iterator before feeding more.

        Raises:
            TraceError: with the byte offset of the invalid frame.
        """
        for frame in self.frames(data):
            yield from self.take(frame)

    def frames(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """The frames that ``data`` completes, to be passed to ``take`` in order."""
        return self._frames.feed(data)

    def take(self, frame: Frame) -> Iterator[Block]:
        """The events of a frame, if it has any; they are checked as the iterator advances."""
        for block, places in self.slices(frame):
            del places
            yield block
            del block  # free it before the next is made

    def slices(self, frame: Frame) -> Iterator[tuple[Block, Mapping[int, Column]]]:
        """As ``take``, and for each kind among the events its positions, ascending."""
        if frame.tag == TAG_HEADER:
            self.header = unpack_header(
                frame.body, offset=frame.offset, version=self._frames.version
            )
            self._rules = EventRules(self.header)
        elif self._rules is None:
            raise AssertionError("the parser lets nothing pass before the header")
        elif frame.tag == TAG_BLOCK:
            first_event_index = self._totals.event_count
            packed = read_block(frame.body, first_event_index, offset=frame.offset)
            unpacker = BlockUnpacker(packed, self._rooms)
            self._rules.begin_block((kind for kind, _ in unpacker.kinds), frame.offset)
            for block, places in unpacker.slices():
                self._rules.check(block, places)
                self._totals.add_instructions(block)
                yield block, places
                del block, places  # free them before the next are made
            self._totals.count_block(unpacker.kinds, frame.offset)
        else:
            self._rules.finish(offset=frame.offset)
            self._recorded = self._totals.check_index(frame)

    def pass_over(self, data: bytes | memoryview) -> None:
        """Hash the bytes of whole blocks without decoding them; the header must have been read."""
        self._frames.pass_over(data)

    def begin_at(self, index: Index, block: int) -> None:
        """Continue with that block of the index: all blocks before it were passed over."""
        if self._rules is None:
            raise AssertionError("the header comes first")
        self._rules.begin_amid()
        self._totals.begin_at(index, block)

    def finish(self, *, allow_truncated: bool = False) -> TraceSummary:
        """The summary of the trace, once all its bytes were fed.

        Raises:
            NotATrace: there were no bytes, or too few to be a trace.
            TraceTruncated: the file ends before its closing index, and either that is not allowed
                or not even the header is whole.
        """
        try:
            self._frames.finish()
        except TraceTruncated:
            if not allow_truncated or self.header is None:
                raise
        if self.header is None:
            raise AssertionError("a complete trace has a header")
        return TraceSummary(
            digest=self._frames.digest,
            size_bytes=self._frames.size_bytes,
            event_count=self._totals.event_count,
            instruction_count=self._totals.instruction_count,
            events_by_kind=self._totals.events_by_kind,
            vcpu_count=self.header.vcpu_count,
            truncated=not self._frames.complete,
            header=self.header,
            recorded=self._recorded,
        )

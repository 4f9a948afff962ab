"""Bytes in, header and blocks out, with every check a trace gets. Reader and validator share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from refault.errors import TraceTruncated
from refault.trace.format import TAG_BLOCK, TAG_HEADER
from refault.trace.frames import Frame, FrameParser, ReadBack
from refault.trace.header import unpack_header
from refault.trace.model import Block, TraceHeader, TraceSummary
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

    def go_on_reading_from(self, read_back: ReadBack) -> None:
        """Blocks are read back from there, from now on."""
        self._frames.read_back = read_back

    @property
    def framed_digest(self) -> str:
        """SHA-256 of the trace up to the end of the block that was handed out last, in hex."""
        return self._frames.framed_digest

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Block]:
        """The blocks that ``data`` completes; exhaust it before feeding on.

        Raises:
            TraceError: with the byte offset of the frame that cannot be right.
        """
        for frame in self.frames(data):
            yield from self.take(frame)

    def frames(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """The frames that ``data`` completes, for ``take`` in their order."""
        return self._frames.feed(data)

    def take(self, frame: Frame) -> Iterator[Block]:
        """The events of a frame, if it has any; what it holds is checked while they are taken."""
        for block, places in self.slices(frame):
            del places
            yield block
            del block  # before the next is made

    def slices(self, frame: Frame) -> Iterator[tuple[Block, Mapping[int, Column]]]:
        """What ``take`` gives, and for each kind among the events where they are, ascending."""
        if frame.tag == TAG_HEADER:
            self.header = unpack_header(frame.body, offset=frame.offset)
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
                del block, places  # before the next are made
            self._totals.count_block(unpacker.kinds, frame.offset)
        else:
            self._rules.finish(offset=frame.offset)
            self._recorded = self._totals.check_index(frame)

    def pass_over(self, data: bytes | memoryview) -> None:
        """Takes bytes of whole blocks that nobody wants; the header must be there."""
        self._frames.pass_over(data)

    def begin_at(self, index: Index, block: int) -> None:
        """All blocks before that one were passed over, as the closing index says where they end."""
        if self._rules is None:
            raise AssertionError("the header comes first")
        self._rules.begin_amid()
        self._totals.begin_at(index, block)

    def finish(self, *, allow_truncated: bool = False) -> TraceSummary:
        """What the trace held, once all its bytes were fed.

        Raises:
            NotATrace: nothing came, or too little to tell.
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

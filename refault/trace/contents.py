"""What readers yield and writers take: header, memory slots, blocks of events, summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Content = Literal["capture", "operations"]
#: The guest's paging: ``long`` has four levels and ``long5`` five; ``mixed`` changes on the way.
GuestMode = Literal["long", "pae", "32bit", "nonpaging", "mixed", "long5"]
#: Where a trace is from: recorded from a real guest, made by a miniature one, real addresses under
#: made tables, a host's log of its faults, cut from another trace; empty where nobody said.
Origin = Literal["", "captured", "synthetic", "addresses", "host-events", "edited"]
PAGE_BYTES: Final = 4096
COLUMN_TYPES: Final = (np.uint8, np.uint8, np.uint8, np.uint8, np.uint32, np.int64, np.int64)


@dataclass(frozen=True)
class MemorySlot:
    """Guest-physical memory ``[base_gfn, base_gfn + page_count)``, in 4 KiB frames.

    ``host_level`` is the size of the host's pages behind it: 1 is 4 KiB, 2 is 2 MiB, 3 is 1 GiB.
    """

    slot: int
    base_gfn: int
    page_count: int
    host_level: int = 1


@dataclass(frozen=True)
class TraceHeader:
    """What holds for a whole trace.

    ``slots`` is the guest's memory for captures and empty for operations, whose OP_MEM events
    define it. ``capture_filter`` says what the capture kept and what it lost. ``time_unit`` is the
    unit of the ``insns`` column. ``notes`` are the texts that OP_NOTE events refer to;
    ``workload_marks`` says what the numbers of MARK events mean.

    Format 2 adds ``origin``, ``losses`` (what the trace does not hold, a sentence each, to stand
    wherever its numbers stand), ``provenance`` (versions, digests, command line, seed) and keeps in
    ``extra`` the keys it does not know.
    """

    content: Content
    name: str
    guest_mode: GuestMode
    vcpu_count: int
    slots: tuple[MemorySlot, ...] = ()
    capture_tool: str = ""
    capture_filter: Mapping[str, str | int] = field(default_factory=dict)
    time_unit: str = ""
    notes: tuple[str, ...] = ()
    workload_marks: Mapping[str, str] = field(default_factory=dict)
    guest: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = ""
    losses: tuple[str, ...] = ()
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Block(NamedTuple):
    """A run of events, one array per column, all of the same length."""

    first_event_index: int
    kind: NDArray[np.uint8]
    vcpu: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    aux: NDArray[np.uint8]
    insns: NDArray[np.uint32]
    a: NDArray[np.int64]
    b: NDArray[np.int64]

    @property
    def event_count(self) -> int:
        """How many events the block holds (``len`` of a tuple is its number of fields)."""
        return len(self.kind)

    def part(self, start: int, stop: int) -> Block:
        """Events ``start`` to ``stop`` of the block, by their number in it; views, not copies."""
        columns: list[Any] = [column[start:stop] for column in self[1:]]
        return Block(self.first_event_index + start, *columns)

    def copied(self) -> Block:
        """The same events in arrays of its own, of the types the columns must have.

        Raises:
            ValueError: the columns differ in length.
        """
        if len({len(column) for column in self[1:]}) != 1:
            raise ValueError("the columns of a block differ in length")
        columns: list[Any] = [
            np.array(column, dtype) for column, dtype in zip(self[1:], COLUMN_TYPES, strict=True)
        ]
        return Block(self.first_event_index, *columns)


def join_blocks(blocks: Sequence[Block]) -> Block:
    """One block with the events of several, numbered from the first one's index."""
    if len(blocks) == 1:
        return blocks[0]
    columns: list[Any] = [np.concatenate(column) for column in list(zip(*blocks, strict=True))[1:]]
    return Block(blocks[0].first_event_index, *columns)


@dataclass(frozen=True)
class TraceSummary:
    """What is known of a trace once all of it was read or written.

    ``digest`` is the SHA-256 of the whole file in hex, the trace's name everywhere.
    ``recorded`` is what the capture tool itself counted, to be compared with what arrived.
    """

    digest: str
    size_bytes: int
    event_count: int
    instruction_count: int
    events_by_kind: Mapping[str, int]
    vcpu_count: int
    truncated: bool
    header: TraceHeader
    recorded: Mapping[str, int] = field(default_factory=dict)

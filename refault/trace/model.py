"""What readers hand out and writers take: header, memory slots, blocks of events, summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Content = Literal["capture", "operations"]
GuestMode = Literal["long", "pae", "32bit", "nonpaging", "mixed"]
PAGE_BYTES = 4096


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

    ``slots`` is the guest's memory for captures and empty for operations, whose OP_MEM events make
    it. ``capture_filter`` says what the capture kept and what it lost. ``time_unit`` is the unit of
    the ``insns`` column. ``notes`` are the texts OP_NOTE events point at, ``workload_marks`` says
    what the numbers of MARK events stand for.
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


@dataclass(frozen=True)
class TraceSummary:
    """What is known of a trace once it was read or written whole.

    ``digest`` is the SHA-256 of the whole file in hex, the trace's name everywhere.
    ``recorded`` is what the capture tool itself said at its end, to be held against what arrived.
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

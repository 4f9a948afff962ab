"""What replaying a trace costs, estimated from its events while they are checked.

Most events cost about the same. A few walk every shadow page, and a few KiB of those can be hours
of work; others make the host hold memory. Both are estimated before anything is replayed, in
bounded memory and without an MMU: one shadow page is assumed for each access, up to the page limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from refault.trace.contents import Block, TraceHeader
from refault.trace.format import EventKind

Column = NDArray[Any]

#: The cost of walking one shadow page, 512 entries, in ordinary events; measured: 20 to 50.
PAGE_EVENTS: Final = 25
#: Frames of a range that cost as much as an ordinary event when the host takes them away.
RANGE_FRAMES: Final = 4
#: And whose bits of a dirty log are read at that cost.
BITMAP_FRAMES: Final = 1 << 11
#: The most shadow pages a host has, whatever the limit.
PAGES_MAX: Final = 1 << 17
#: KVM's default page limit: so many thousandths of the guest's pages, but at least LIMIT_MIN.
LIMIT_PERMILLE: Final = 20
LIMIT_MIN: Final = 64
#: Frames are distinguished by their low 20 bits, so at most 4 GiB of written memory are counted.
FRAMES_COUNTED: Final = 1 << 20
#: What a host keeps for each frame of a memory slot, written or not.
FRAME_BYTES: Final = 16
PAGE_BYTES: Final = 4096
WORD_BYTES: Final = 8

K: Final = {kind.name: int(kind) for kind in EventKind}
#: Events that store to a page table, or to memory.
_STORES: Final = (K["TABLE_STORE"], K["TABLE_ENTRY"], K["OP_POKE"])
#: Events by which a guest touches memory.
_ACCESSES: Final = (
    *(K[name] for name in ("ACCESS", "TABLE_STORE", "TABLE_ENTRY", "PAGE_FAULT")),
    *(K[name] for name in ("OP_LD", "OP_EX", "OP_ST", "OP_ST4", "OP_ST2", "OP_ST1")),
)
#: Those that walk every shadow page; after one of _ZAPS none is left.
_WALKS: Final = tuple(
    K[name]
    for name in (
        "OP_MEM",
        "OP_LOG",
        "OP_LOG_OFF",
        "OP_DIRTYLOG",
        "OP_GET_DIRTY_LOG",
        "OP_ZAPALL",
        "OP_MEM_DELETE",
    )
)
_ZAPS: Final = tuple(K[name] for name in ("OP_LOG", "OP_ZAPALL", "OP_MEM_DELETE"))


class TraceCosts:
    """The costs of a trace under one variant, summed block by block.

    ``work`` is in ordinary events; ``memory_bytes`` is a lower bound.
    """

    def __init__(self, header: TraceHeader) -> None:
        self.work = 0
        self._is_capture = header.content == "capture"
        self._vcpu_count = header.vcpu_count
        self._slots = {slot.slot: slot.page_count for slot in header.slots}
        self._limit_asked = 0
        self._accesses = 0  # since the last event that leaves no shadow page
        self._frames: Any = None

    @property
    def memory_bytes(self) -> int:
        """Records of all frames, and a page for each that is written."""
        pages = sum(self._slots.values())
        written = 0 if self._frames is None else int(np.count_nonzero(self._frames))
        held = FRAME_BYTES * pages + PAGE_BYTES * min(written, pages)
        if self._is_capture:
            # Lowering also keeps the guest's tables, and words for each frame and vCPU.
            held += WORD_BYTES * (2 + self._vcpu_count) * pages + PAGE_BYTES * min(written, pages)
        return held

    def add(self, block: Block, places: Mapping[int, Column]) -> None:
        """Add the next events; ``places`` maps each kind among them to its positions."""
        self.work += block.event_count
        for kind in _STORES:
            if kind in places:
                self._count_written(block.a.take(places[kind]))
        if K["OP_MEM"] in places:
            added = places[K["OP_MEM"]]
            slots, first = np.unique(block.aux[added], return_index=True)
            for slot, pages in zip(slots.tolist(), block.b[added[first]].tolist(), strict=True):
                self._slots.setdefault(slot, pages)
        if K["OP_UNMAP_RANGE"] in places:
            pages = np.minimum(block.b[places[K["OP_UNMAP_RANGE"]]], sum(self._slots.values()))
            self.work += int(pages.sum()) // RANGE_FRAMES
        if K["OP_GET_DIRTY_LOG"] in places:
            reads = len(places[K["OP_GET_DIRTY_LOG"]])
            self.work += reads * max(self._slots.values(), default=0) // BITMAP_FRAMES
        if K["OP_NR_PAGES"] in places:
            asked = block.a[places[K["OP_NR_PAGES"]]] & 0xFFFF_FFFF
            self._limit_asked = max(self._limit_asked, int(asked.max()))
        accesses = [places[kind] for kind in _ACCESSES if kind in places]
        walks = _among(places, _WALKS)
        if len(walks):
            self._weigh(walks, _among(places, _ZAPS), accesses)
        else:
            self._accesses += sum(map(len, accesses))

    def _count_written(self, gpas: Column) -> None:
        if self._frames is None:
            self._frames = np.zeros(FRAMES_COUNTED, bool)
        gpas >>= 12
        gpas &= FRAMES_COUNTED - 1
        self._frames[gpas] = True

    def _weigh(self, walks: Column, zaps: Column, accesses: Sequence[Column]) -> None:
        """Add the pages that are walked: one for each access since all were last zapped."""
        before = self._accesses + _count_before(walks, accesses)
        before_zaps = self._accesses + _count_before(zaps, accesses)
        forgotten = np.append(0, before_zaps)[np.searchsorted(zaps, walks)]
        self.work += PAGE_EVENTS * int(np.minimum(before - forgotten, self._page_limit()).sum())
        self._accesses += sum(map(len, accesses)) - int(before_zaps[-1] if len(zaps) else 0)

    def _page_limit(self) -> int:
        """The highest page limit that the host may have had so far."""
        usual = max(LIMIT_MIN, sum(self._slots.values()) * LIMIT_PERMILLE // 1000)
        return min(PAGES_MAX, max(usual, self._limit_asked))


def _among(places: Mapping[int, Column], kinds: Sequence[int]) -> Column:
    """The positions of the events of any of these kinds, ascending."""
    found = [places[kind] for kind in kinds if kind in places]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def _count_before(events: Column, accesses: Sequence[Column]) -> Column:
    """How many accesses there are before each event."""
    count = np.zeros(len(events), np.int64)
    for column in accesses:
        count += np.searchsorted(column, events)
    return count

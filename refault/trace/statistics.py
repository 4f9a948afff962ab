"""What the service shows of a trace beyond its counts: address spaces, marks and its make-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from refault.trace.contents import Block, GuestMode
from refault.trace.format import EventKind
from refault.trace.makeup import MakeUp
from refault.trace.rules import NOWHERE, Column

ADDRESS_SPACES_MAX: Final = 65536
MARKS_MAX: Final = 1024
# The root's address in CR3: without flags and, in long mode, the PCID.
_FRAME: Final = 0x000F_FFFF_FFFF_F000
_PAE_ROOT: Final = 0xFFFF_FFE0


class TraceStatistics:
    """Counts over the blocks of a trace, in bounded memory.

    ``address_space_count`` is the number of distinct roots that CR3 held, at most
    ADDRESS_SPACES_MAX; ``marks`` says how often each number was marked, for the first MARKS_MAX.
    """

    def __init__(self, guest_mode: GuestMode, content: str = "capture") -> None:
        self._root_mask = np.int64(_PAE_ROOT if guest_mode == "pae" else _FRAME)
        self._roots: set[int] = set()
        self.marks: dict[int, int] = {}
        # Operations as given have no guest whose time they could tell.
        self.makeup = MakeUp(in_instructions=content == "capture")

    @property
    def address_space_count(self) -> int:
        """How many distinct roots were seen."""
        return len(self._roots)

    def add(self, block: Block, places: Mapping[int, Column]) -> None:
        """Add the next events; ``places`` maps each kind among them to its positions."""
        self.makeup.add(block)
        loads = places.get(EventKind.OP_CR3, NOWHERE)
        written = places.get(EventKind.CR, NOWHERE)
        roots = np.append(block.a[loads], block.a[written[block.aux[written] == 3]])
        if len(roots) and len(self._roots) < ADDRESS_SPACES_MAX:
            found = np.unique(roots & self._root_mask)
            self._roots.update(found[: ADDRESS_SPACES_MAX - len(self._roots)].tolist())
        marked = places.get(EventKind.MARK, NOWHERE)
        if len(marked):
            numbers, counts = np.unique(block.a[marked], return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                if number in self.marks or len(self.marks) < MARKS_MAX:
                    self.marks[number] = self.marks.get(number, 0) + count

"""What a trace consists of over its guest's time: how many events of each kind in each slice.

The length of a trace is not known before its end, so slices are as wide as they must be for 64 of
them to hold all there was so far: when they are full, each two become one.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from refault.trace.contents import Block
from refault.trace.format import EventKind

#: The most slices; at least half of them are in use at the end of a trace of any length.
SLICES: Final = 64
_KINDS: Final = max(EventKind) + 1


class MakeUp:
    """Counts of events by slice of time and by kind, in bounded memory.

    Time is in guest instructions, where a trace tells them, else in events.
    """

    def __init__(self, *, in_instructions: bool) -> None:
        self.in_instructions = in_instructions
        self.width = 1
        self._now = 0
        self._counts = np.zeros((SLICES, _KINDS), np.int64)

    def add(self, block: Block) -> None:
        """Add the next events."""
        count = len(block.kind)
        if not count:
            return
        steps = block.insns.astype(np.int64) if self.in_instructions else np.ones(count, np.int64)
        times = self._now + np.cumsum(steps)
        self._now = int(times[-1])
        while self._now >= SLICES * self.width:
            self._counts[: SLICES // 2] = self._counts[0::2] + self._counts[1::2]
            self._counts[SLICES // 2 :] = 0
            self.width *= 2
        places = times // self.width * _KINDS + block.kind
        self._counts += np.bincount(places, minlength=SLICES * _KINDS).reshape(SLICES, _KINDS)

    def to_dict(self) -> dict[str, Any]:
        """It as JSON: unit and width of a slice, and the counts of each kind that occurs."""
        used = self._now // self.width + 1 if self._counts.any() else 0
        return {
            "unit": "instructions" if self.in_instructions else "events",
            "width": self.width,
            "slices": used,
            "kinds": {
                kind.name: self._counts[:used, kind].tolist()
                for kind in EventKind
                if self._counts[:, kind].any()
            },
        }

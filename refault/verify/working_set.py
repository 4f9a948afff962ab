"""The working set of a guest: how many frames of its memory it touches in each slice of its time.

The length of a trace is not known before its end, nor how wide its slices will be: as wide as they
must be for 64 of them to hold it, as those of its make-up (``refault/trace/makeup.py``). So each
width is counted at once. Time ``t`` lies in slice ``t >> level`` of a level; a frame that is
touched at ``now``, and was last touched at ``before``, is new in its slice at every level where
the two slices differ, which are all levels below the highest bit in which the times differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from refault.replay.compile.jit import INTERPRETED, native
from refault.trace.makeup import SLICES
from refault.verify import walking

if TYPE_CHECKING:
    from refault.replay.budget import Ask
    from refault.replay.lowering.known_memory import Lowering
    from refault.trace import Block

_UNIT: Final = "instructions"


@dataclasses.dataclass(frozen=True, slots=True)
class WorkingSet:
    """Distinct frames of 4 KiB that accesses reach, in each slice of ``width`` instructions.

    ``touched`` are all that the trace touches, ``memory`` all that the guest has. Accesses whose
    guest-physical address the capture could not have are not counted.
    """

    width: int
    frames: tuple[int, ...]
    touched: int
    memory: int

    def to_dict(self) -> dict[str, Any]:
        """The document as JSON."""
        return {
            "unit": _UNIT,
            "width": self.width,
            "slices": len(self.frames),
            "frames": list(self.frames),
            "touched": self.touched,
            "memory": self.memory,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The document ``to_dict()`` made; KeyError and TypeError where it is not one."""
        frames = tuple(int(count) for count in body["frames"])
        return cls(int(body["width"]), frames, int(body["touched"]), int(body["memory"]))


class Counting:
    """The state between two blocks; ``ask`` is called before each allocation."""

    def __init__(self, frame_count: int, ask: Ask) -> None:
        def words(count: int) -> Any:
            ask(count, "the guest's working set")
            return [0] * count if INTERPRETED else np.zeros(count, np.int64)

        self._memory = frame_count
        self._now = 0
        self.state = walking.Touched(
            last=words(frame_count + 1),
            counts=words(walking.LEVELS * SLICES),
            level=words(1),
        )

    def take(self, tables: Lowering, block: Block) -> None:
        """The next block; ``tables`` know the memory slots."""
        if not block.event_count:
            return
        times = self._now + np.cumsum(block.insns.astype(np.int64))
        self._now = int(times[-1])
        columns: list[Any] = [block.kind, block.flags, block.b]
        if INTERPRETED:
            columns = [column.tolist() for column in columns]
        kind, flags, b = columns
        walking.count_frames(tables, self.state, kind, flags, b, native(times))

    def working_set(self) -> WorkingSet:
        """What was counted, once all blocks were taken."""
        level = max(0, self._now.bit_length() - SLICES.bit_length() + 1)
        used = (self._now >> level) + 1
        counts = [int(self.state.counts[level * SLICES + place]) for place in range(used)]
        touched = sum(1 for time in self.state.last if time) if INTERPRETED else 0
        if not INTERPRETED:
            touched = int(np.count_nonzero(self.state.last))
        return WorkingSet(1 << level, tuple(counts), touched, self._memory)

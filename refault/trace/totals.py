"""Counts over a whole trace, and the closing index that states them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgpack
import numpy as np

from refault.errors import TraceCorrupt, TraceTooLarge
from refault.trace.contents import Block
from refault.trace.format import KIND_NAMES, MAX_BLOCKS, MAX_EVENTS, EventKind
from refault.trace.frames import Frame
from refault.trace.header import unpack_map

SHA256_BYTES: Final = 32
INDEX_KEYS: Final = frozenset(
    {"event_count", "instruction_count", "events_by_kind", "blocks", "recorded", "sha256"}
)


class Index(NamedTuple):
    """What a closing index states; it is checked only once the file was read to its end."""

    event_count: int
    instruction_count: int
    events_by_kind: dict[str, int]
    blocks: list[list[int]]  # [byte offset, first event index, event count]

    def block_of(self, event: int) -> int:
        """Which block holds that event; the last one, if none does."""
        firsts = [first for _, first, _ in self.blocks]
        return max(0, bisect.bisect_right(firsts, event) - 1)


def read_index(body: bytes, offset: int) -> Index:
    """What the body of an INDX frame states.

    Raises:
        TraceCorrupt: the index contradicts itself.
    """
    values = unpack_map(
        body,
        INDEX_KEYS,
        "closing index",
        offset=offset,
        max_array_len=MAX_BLOCKS,
        max_bin_len=SHA256_BYTES,
    )
    index = Index(*(values[name] for name in Index._fields))
    counts = (index.event_count, index.instruction_count)
    is_one = all(type(count) is int and count >= 0 for count in counts)
    is_one &= isinstance(index.events_by_kind, dict) and isinstance(index.blocks, list)
    end, events = 0, 0
    for block in index.blocks if is_one else ():
        if not (isinstance(block, list) and [type(n) for n in block] == [int, int, int]):
            is_one = False
            break
        is_one &= block[0] > end and block[1] == events and block[2] > 0
        end, events = block[0], block[1] + block[2]
    if not is_one or end >= offset or events != index.event_count:
        raise TraceCorrupt("the closing index contradicts itself", offset=offset)
    return index


class Totals:
    """Running counts over the blocks of one trace."""

    def __init__(self) -> None:
        self._passed: Index | None = None
        self.event_count = 0
        self.instruction_count = 0
        self.blocks: list[list[int]] = []  # [byte offset, first event index, event count]
        self._by_kind: dict[int, int] = {}

    def count_block(self, kinds: Iterable[tuple[int, int]], offset: int) -> None:
        """Count a block of so many events of these kinds, whose frame begins at byte ``offset``.

        Raises:
            TraceTooLarge: the trace has more blocks or events than the format allows.
        """
        event_count = 0
        for kind, count in kinds:
            self._by_kind[kind] = self._by_kind.get(kind, 0) + count
            event_count += count
        self.blocks.append([offset, self.event_count, event_count])
        self.event_count += event_count
        if len(self.blocks) > MAX_BLOCKS or self.event_count > MAX_EVENTS:
            raise TraceTooLarge(
                f"a trace has at most {MAX_BLOCKS} blocks and {MAX_EVENTS} events; "
                "split the capture, or write larger blocks",
                offset=offset,
            )

    def add_instructions(self, block: Block) -> None:
        """Add the time of some events of the latest block."""
        self.instruction_count += int(block.insns.sum(dtype=np.uint64))

    def begin_at(self, index: Index, block: int) -> None:
        """Skip the blocks before that one; their counts are taken from the index."""
        self._passed = index
        self.blocks = list(index.blocks[:block])
        self.event_count = index.blocks[block][1]

    @property
    def events_by_kind(self) -> dict[str, int]:
        """How many events of each kind that occurs, under the kinds' names."""
        return {KIND_NAMES[kind]: count for kind, count in sorted(self._by_kind.items())}

    def pack_index(self, recorded: Mapping[str, int], sha256: bytes) -> bytes:
        """The body of the INDX frame; ``sha256`` is that of all bytes before the frame."""
        body: bytes = msgpack.packb(
            {**self._stated(), "recorded": dict(recorded), "sha256": sha256}
        )
        return body

    def check_index(self, frame: Frame) -> dict[str, int]:
        """Compare the closing index with what was counted; answers what the capture recorded.

        Raises:
            TraceCorrupt: the index does not state what the file holds.
        """
        index = unpack_map(
            frame.body,
            INDEX_KEYS,
            "closing index",
            offset=frame.offset,
            max_array_len=MAX_BLOCKS,
            max_bin_len=len(frame.sha256_before),
        )
        for name, counted in {**self._stated(), "sha256": frame.sha256_before}.items():
            if index[name] != counted:
                raise TraceCorrupt(
                    f"the closing index states {name} {_shown(index[name])}, "
                    f"the file holds {_shown(counted)}; import or upload the trace again",
                    offset=frame.offset,
                )
        if self._passed is not None:
            self.instruction_count = self._passed.instruction_count
            self._by_kind = {
                int(EventKind[name]): count for name, count in self._passed.events_by_kind.items()
            }
        recorded = index["recorded"]
        if not isinstance(recorded, dict) or not all(
            isinstance(name, str) and type(value) is int for name, value in recorded.items()
        ):
            raise TraceCorrupt(
                "the closing index's `recorded` must map names to numbers", offset=frame.offset
            )
        return recorded

    def _stated(self) -> dict[str, object]:
        if self._passed is not None:
            return {"event_count": self.event_count, "blocks": self.blocks}
        return {
            "event_count": self.event_count,
            "instruction_count": self.instruction_count,
            "events_by_kind": self.events_by_kind,
            "blocks": self.blocks,
        }


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else f"{value!r:.80}"

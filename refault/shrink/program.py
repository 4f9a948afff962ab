"""Events that a trace is made of, and any part of them that keeps the rules of the format.

A snapshot and its entries belong together, as do the two halves of a boot; the first event of a
trace of operations is always there.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.trace.contents import COLUMN_TYPES, Block
from refault.trace.format import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from refault.trace.contents import TraceHeader

    Mask = NDArray[np.bool_]
    Places = NDArray[np.int64]
    Row = tuple[int, int, int, int, int, int]  # kind, vcpu, flags, aux, a, b

SNAPSHOT = int(EventKind.TABLE_SNAPSHOT)
ENTRY = int(EventKind.TABLE_ENTRY)
BOOT_CR = int(EventKind.OP_BOOT_CR)
BOOT = int(EventKind.OP_BOOT)
#: Of registers that take two events: the first and the second.
FIRST_HALVES = (BOOT_CR, int(EventKind.OP_SREGS_CR))
SECOND_HALVES = (BOOT, int(EventKind.OP_SREGS))
VM = int(EventKind.OP_VM)
POKE = int(EventKind.OP_POKE)
_TOLD_MAX = 1 << 16


@dataclasses.dataclass(frozen=True)
class Program:
    """Events in memory, and the header of the trace they make.

    ``begins`` is the event of the whole trace at which they begin.
    """

    header: TraceHeader
    block: Block
    begins: int = 0

    @functools.cached_property
    def owner(self) -> Places:
        """Of each entry the place of its snapshot, of the second half of a boot its first; or -1.

        Entries follow their snapshot without a gap, which a reader has checked.
        """
        kind = self.block.kind
        places = np.arange(len(kind), dtype=np.int64)
        latest = np.maximum.accumulate(np.where(kind == SNAPSHOT, places, -1))
        owner = np.where(kind == ENTRY, latest, -1)
        halves = np.isin(kind, SECOND_HALVES)
        owner[halves] = places[halves] - 1
        return owner

    def everything(self) -> Mask:
        """A mask with all events."""
        return np.ones(self.block.event_count, np.bool_)

    def lawful(self, kept: Mask) -> Mask:
        """The same without events whose other half is missing, and with what must be there."""
        kept = kept.copy()
        kind, owner = self.block.kind, self.owner
        kept[kind == VM] = True
        halves = np.flatnonzero(np.isin(kind, SECOND_HALVES))
        kept[halves - 1] &= kept[halves]
        owned = owner >= 0
        kept[owned] &= kept[owner[owned]]
        return kept

    def taken(self, kept: Mask) -> Block:
        """Those events as a block of their own; a snapshot says how many of its entries are left.

        ``kept`` must be lawful.
        """
        columns: list[Any] = [column[kept] for column in self.block[1:]]
        block = Block(0, *columns)
        snapshots = np.flatnonzero((self.block.kind == SNAPSHOT) & kept)
        if len(snapshots):
            entries = (self.block.kind == ENTRY) & kept
            counts = np.bincount(self.owner[entries], minlength=len(kept))
            block.b[block.kind == SNAPSHOT] = counts[snapshots]
        return block

    def compact(self, kept: Mask) -> Program:
        """A program of those events alone."""
        return Program(self.header, self.taken(kept), self.begins)


def digest_of(block: Block) -> str:
    """A digest of the events of a block, by which a judgement of it is found again."""
    total = hashlib.blake2b(digest_size=16)
    for column in block[1:]:
        total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()


def joined(parts: list[Block]) -> Block:
    """One block of several, numbered from 0; of none, one without events."""
    columns: list[Any] = [
        np.concatenate([np.zeros(0, dtype), *(part[1 + place] for part in parts)])
        for place, dtype in enumerate(COLUMN_TYPES)
    ]
    return Block(0, *columns)


def block_of(rows: Sequence[Row]) -> Block:
    """Events of these rows, all at the same time."""
    values = np.array(rows, np.int64).reshape(-1, 6)
    return block_from(*(values[:, column] for column in range(6)))


def block_from(kind: Any, vcpu: Any, flags: Any, aux: Any, a: Any, b: Any) -> Block:
    """Events of these columns, all at the same time; a column may be one number for all."""
    columns: list[Any] = [
        np.array(np.broadcast_to(np.asarray(column), kind.shape), dtype)
        for column, dtype in zip((kind, vcpu, flags, aux, 0, a, b), COLUMN_TYPES, strict=True)
    ]
    return Block(0, *columns)


class Told:
    """Events of some kinds, which are few, as blocks go by: what the host was told."""

    def __init__(self, kinds: Sequence[int]) -> None:
        self._kinds = kinds
        self._rows: list[tuple[int, Row]] = []

    def followed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The same blocks."""
        for block in blocks:
            places = np.flatnonzero(np.isin(block.kind, self._kinds))
            for place in places[: _TOLD_MAX + 1 - len(self._rows)].tolist():
                columns = (block.kind, block.vcpu, block.flags, block.aux, block.a, block.b)
                kind, vcpu, flags, aux, a, b = (int(column[place]) for column in columns)
                row = (kind, vcpu, flags, aux, a, b)
                self._rows.append((block.first_event_index + place, row))
            yield block

    def before(self, event: int) -> list[Row] | None:
        """Those before an event, or None if they are too many to remember."""
        rows = [row for at, row in self._rows if at < event]
        return rows if len(rows) <= _TOLD_MAX else None

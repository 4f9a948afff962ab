"""A trace's events as rows of operations, some thousand at a time, once for all variants."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from refault.replay import operations as op
from refault.replay import x86
from refault.replay.budget import Budget
from refault.replay.compile.jit import INTERPRETED
from refault.replay.guests import has_five_levels
from refault.replay.lowering import events as lower
from refault.replay.lowering import known_memory as known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refault.trace import Block, TraceHeader

#: The most rows executed at a time; a host has room for their outcomes.
ROWS = 1 << 15


class RowSource:
    """Makes rows of a trace's events. Its state is ``lowering`` and ``events``.

    It remembers nothing else between two parts, so a source that is given both continues where
    another one was. The known memory of the guest stays within ``budget``. No part goes beyond
    event ``stop_at`` - 1, unless all events before it are taken.
    """

    def __init__(self, header: TraceHeader, budget: Budget | None = None) -> None:
        self.share = (budget or Budget()).share()
        self.lowering = known.create(
            header.slots, header.vcpu_count, interpreted=INTERPRETED, ask=self.share.ask
        )
        if has_five_levels(header):
            self.lowering.state[known.CR4_MORE] = x86.CR4_LA57
        self.events = 0
        self.stop_at = 0

    def parts(
        self, blocks: Iterator[Block], *, buffers: int = 1
    ) -> Iterator[tuple[op.Operations, int, int]]:
        """Parts ``(rows, how many, events taken so far)``; skips events that were taken before.

        Rows are overwritten when ``buffers`` more parts were asked for.
        """
        ring = itertools.cycle([op.empty(ROWS, interpreted=INTERPRETED) for _ in range(buffers)])
        for block in blocks:
            at = max(0, self.events - block.first_event_index)
            if at >= block.event_count:
                continue
            columns = (block.kind, block.vcpu, block.flags, block.aux, block.a, block.b)
            if INTERPRETED:
                columns = tuple(column.tolist() for column in columns)
            while at < block.event_count:
                ops = next(ring)
                self.lowering = known.reserve(self.lowering, self.share.ask)
                self.share.settle(self.lowering)
                end = self.stop_at - block.first_event_index
                kind, vcpu, flags, aux, a, b = (
                    [column[:end] for column in columns] if at < end else columns
                )
                first = block.first_event_index
                at = lower.lower(self.lowering, kind, vcpu, flags, aux, a, b, first, at, ops, ROWS)
                self.events = block.first_event_index + at
                yield ops, int(self.lowering.state[known.ROW_COUNT]), self.events
        ops = next(ring)
        count = lower.lower_end(self.lowering, ops)
        if count:
            yield ops, int(count), self.events

    def skipped(self) -> dict[str, int]:
        """How many events became no operation though one would expect it, by reason."""
        words = self.lowering.state[known.SKIPPED : known.SKIPPED + len(known.SKIP_REASONS)]
        return {
            reason: int(word)
            for reason, word in zip(known.SKIP_REASONS, words, strict=True)
            if word
        }


def operations_of(
    header: TraceHeader, blocks: Iterator[Block], skipped: dict[str, int]
) -> Iterator[tuple[op.Operations, int, int]]:
    """The trace's events as ``(rows, how many, events taken so far)``, some thousand at a time.

    Rows are overwritten by the next part. The events that became no operation though one would
    expect it are added to ``skipped``, by reason.
    """
    source = RowSource(header)
    yield from source.parts(blocks)
    for reason, count in source.skipped().items():
        skipped[reason] = skipped.get(reason, 0) + count

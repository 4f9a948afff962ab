"""Operations in memory, executed as the engine executes them, by the clock of the processor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refault.catalogue import Variant, patch_set_from_text, resolve
from refault.engines.base import Watch
from refault.engines.shadow import loop
from refault.engines.shadow.host import Host
from refault.engines.shadow.state import machine, words
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.lowering.rows import ROWS, operations_of
from refault.trace import Block, TraceHeader

RUNS = 5
MILLION = 1_000_000


def lowered(header: TraceHeader, blocks: Iterator[Block]) -> op.Operations:
    """Every operation of a trace, column by column."""
    parts = [
        [np.array(column[:count]) for column in ops]
        for ops, count, _ in operations_of(header, blocks, {})
    ]
    return op.Operations(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def part(ops: op.Operations, start: int, stop: int) -> op.Operations:
    """Rows ``start`` to ``stop`` - 1, as views."""
    return op.Operations(*(column[start:stop] for column in ops))


def after_boot(ops: op.Operations) -> int:
    """The row behind the last one that starts a vCPU."""
    return int(np.flatnonzero(ops.kind == op.BOOT)[-1]) + 1


class Replay:
    """One variant's host with the operations up to a row executed, ready to execute the rest."""

    def __init__(
        self, variant: str | Variant, header: TraceHeader, ops: op.Operations, first: int
    ) -> None:
        chosen = resolve(patch_set_from_text(variant)) if isinstance(variant, str) else variant
        self.host = Host(chosen, header, Budget(), Watch())
        if header.content == "capture":
            self.host.begin()
        self._execute(_pieces(ops, 0, first))
        self._rest = _pieces(ops, first, len(ops.kind))

    def _execute(self, pieces: list[op.Operations]) -> None:
        for piece in pieces:
            self.host.execute(piece, len(piece.kind))

    def rest(self) -> float:
        """Execute the rest; answers the seconds of processor time it took."""
        begun = time.thread_time()
        self._execute(self._rest)
        return time.thread_time() - begun

    def rest_without_findings(self) -> float:
        """The same, kernels only: no outcome is worked off, no digest made."""
        log = self.host.notes.log
        begun = time.thread_time()
        for piece in self._rest:
            at, end = 0, len(piece.kind)
            while at < end:
                done = loop.run(self.host.machine, piece, at, end, 0, log)
                log.state[rec.NEXT] = 0
                if done < end:
                    assert not self.host.machine.vm[words.BUG]
                    self.host.machine = machine.reserve(self.host.machine)
                at = done
        return time.thread_time() - begun


def _pieces(ops: op.Operations, start: int, stop: int) -> list[op.Operations]:
    return [part(ops, at, min(stop, at + ROWS)) for at in range(start, stop, ROWS)]


def side_by_side(*measure: Callable[[], float]) -> list[float]:
    """The median of five for each, taking turns, so that a busy machine hits all alike."""
    rounds = [[one() for one in measure] for _ in range(RUNS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def timed(function: Callable[[], Any]) -> float:
    """Seconds of processor time a call takes, in all threads: a replay executes in its own."""
    begun = time.process_time()
    function()
    return time.process_time() - begun

"""A host of any engine, whose outcomes are judged (:mod:`refault.engines.audit.other_engines`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refault.engines import get_engine
from refault.engines.around import Around
from refault.engines.audit import other_engines, words
from refault.engines.audit.host import NUMBERS
from refault.engines.base import Watch
from refault.engines.walk import words as arch
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.compile import jit
from refault.replay.guests import check_vcpu_count
from refault.replay.notes import simulating

if TYPE_CHECKING:
    from refault.audits import Level
    from refault.catalogue import Variant
    from refault.replay.budget import Budget
    from refault.trace import TraceHeader


class OutcomeHost(Around):
    """One variant's host, and beside it the guest by the rules of the architecture alone."""

    def __init__(self, variant: Variant, header: TraceHeader, budget: Budget, level: Level) -> None:
        watch = Watch(record_all=True)
        super().__init__(get_engine(variant.engine).open(variant, header, budget, watch))
        self.header, self.level = header, level
        self.audit = words.create(NUMBERS[level.name])
        self.guest = arch.create()
        self._share = budget.share()
        self._settle()

    def begin(self) -> None:
        """Execute what comes before a capture's first event."""
        self.host.begin()
        self._forget_records()
        rows = op.opening(self.header, interpreted=jit.INTERPRETED)
        self._judge(rows, len(rows.kind), np.zeros((0, rec.RECORD_WORDS), np.int64))

    def execute(self, ops: op.Operations, count: int) -> None:
        """Execute the first ``count`` rows, and judge how they came out."""
        before = self.operation_count
        self.host.execute(ops, count)
        done = count if not self.stopped else min(count, self.operation_count - before)
        kept = self.notes.findings.raw or []
        records = np.concatenate(kept) if kept else np.zeros((0, rec.RECORD_WORDS), np.int64)
        self._forget_records()
        self._judge(ops, done, records)

    def finish(self) -> None:
        """The end of the trace: there is nothing more to look at."""

    def _forget_records(self) -> None:
        if self.notes.findings.raw is not None:
            self.notes.findings.raw.clear()

    def _judge(self, ops: op.Operations, count: int, records: np.ndarray) -> None:
        raw = other_engines.Raw(jit.native(records.reshape(-1)))
        shift = self.operation_count - count
        at, used = 0, 0
        while at < count:
            with simulating():
                at = other_engines.judge_rows(
                    self.guest, self.audit, ops, raw, used, at, count, shift
                )
                used = int(self.audit.state[words.RECORDS_USED])
                if at < count:
                    self._attend(ops, at)

    def _attend(self, ops: op.Operations, row: int) -> None:
        """Make arrays longer, for vCPUs, slots and what ran out."""
        ask, state = self._share.ask, self.guest.state
        if ops.kind[row] == op.VM and not state[arch.VCPU_COUNT]:
            count = int(ops.a[row])
            check_vcpu_count(count, int(ops.event[row]))
            state[arch.VCPU_COUNT] = count
        elif ops.kind[row] == op.MEM:
            place = arch.SLOTS + int(ops.aux[row]) * arch.SLOT_WORDS
            if not state[place + arch.SLOT_USED]:
                slot, base, pages = int(ops.aux[row]), int(ops.a[row]), int(ops.b[row])
                self.guest = arch.add_slot(self.guest, slot, base, pages, ask)
        self.guest = arch.reserve(self.guest, ask)
        self.audit = words.reserve(self.audit, 1, 1, ask)
        self._settle()

    def _settle(self) -> None:
        self._share.settle([*self.audit, *self.guest])

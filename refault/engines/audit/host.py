"""A host of the model that is checked while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from refault.audits import Level
from refault.engines.audit import loop, watching, words
from refault.engines.base import Watch
from refault.engines.shadow import host as shadow
from refault.engines.shadow.defects import BUGS
from refault.engines.shadow.state import words as model
from refault.engines.walk import words as arch
from refault.errors import ReplayCancelled
from refault.replay import operations as op
from refault.replay.compile.jit import INTERPRETED
from refault.replay.notes import simulating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.replay.budget import Budget
    from refault.trace import TraceHeader

#: Each level as kernels know it.
NUMBERS = {"off": words.OFF, "sampled": words.SAMPLED, "flush": words.FLUSH, "every": words.EVERY}


class Host(shadow.Host):
    """One variant's host, with an audit beside it; the run is what it is without one.

    ``guest`` are the same processors by the rules of the architecture alone, on the same memory.
    Changes of the words ``watched`` (array, place, until when) are noted at any level.
    """

    def __init__(
        self,
        variant: Variant,
        header: TraceHeader,
        budget: Budget,
        level: Level,
        watched: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        super().__init__(variant, header, budget, Watch())
        self.watches = watching.create(watched)
        self.level = level
        self.audit = words.create(NUMBERS[level.name])
        self.guest = arch.create()
        self._audit_share = budget.share()
        self._random = np.random.Generator(np.random.PCG64(level.seed))
        self._next_sample = self._distance()
        self._event = 0
        self._fit()

    def finish(self) -> None:
        """The last check, at the end of the trace."""
        if not self.stopped:
            with simulating():
                self._check_now()

    def _check_now(self) -> None:
        state = self.audit.state
        state[words.NOW], state[words.EVENT] = self.operation_count, self._event
        state[words.NOW_KIND] = op.NOTE
        self._run_checked(op.empty(1, interpreted=INTERPRETED), 0, 0, 0)

    def _run_checked(self, ops: op.Operations, at: int, stop: int, shift: int) -> int:
        mine = (self.machine, self.guest, self.audit, self.watches)
        return loop.run_checked(*mine, ops, at, stop, shift, self.notes.log)

    def _distance(self) -> int:
        """Operations to the next sample: between one and twice as many as asked for."""
        return self.operation_count + int(self._random.integers(1, 2 * self.level.every + 1))

    def _fit(self) -> None:
        """Let what lies beside the host's arrays be as long as they are."""
        m = self.machine
        self.audit = words.reserve(self.audit, len(m.frame), len(m.page), self._audit_share.ask)
        self.guest = self.guest._replace(mem=m.mem)
        self._audit_share.settle([*self.audit, self.guest.state, self.guest.frames])

    def _run(self, ops: op.Operations, start: int, end: int) -> int:
        at = start
        while at < end:
            if self._is_aborted:
                raise ReplayCancelled(shadow._ABORTED)  # noqa: SLF001 - one message
            shift = self.operation_count - at
            stop = self._end_of_step(at, end)
            with simulating():
                done = self._run_checked(ops, at, stop, shift)
                if self._is_aborted:
                    raise ReplayCancelled(shadow._ABORTED)  # noqa: SLF001
                self.operation_count += done - at
                self.notes.take(ops)
            if done > at:
                self._event = int(ops.event[done - 1])
            bug = int(self.machine.vm[model.BUG])
            if bug:
                self.stopped = True
                self.notes.findings.broke(*BUGS[bug], ops, done, self.operation_count)
                return done
            at = done
            with simulating():
                if at < stop:
                    self._attend(ops, at)
                elif self.operation_count >= self._next_sample:
                    self._sample()
        return end

    def _end_of_step(self, at: int, end: int) -> int:
        if self.level.name != "sampled":
            return end
        return min(end, at + max(1, self._next_sample - self.operation_count))

    def _sample(self) -> None:
        if self.level.name == "sampled":
            self._check_now()
        self._next_sample = self._distance()

    def _attend(self, ops: op.Operations, row: int) -> None:
        super()._attend(ops, row)
        self.guest.state[arch.VCPU_COUNT] = self.machine.vm[model.VCPU_COUNT]
        if ops.kind[row] == op.MEM:
            slot = int(ops.aux[row])
            place = arch.SLOTS + slot * arch.SLOT_WORDS
            if not self.guest.state[place + arch.SLOT_USED]:
                base, pages = int(ops.a[row]), int(ops.b[row])
                ask = self._audit_share.ask
                self.guest = arch.add_slot(self.guest, slot, base, pages, ask)
        self._fit()

"""A host of the model with an account of what changed its counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.engines.account import loop
from refault.engines.account import words as ac
from refault.engines.shadow import host as shadow
from refault.engines.shadow.defects import BUGS
from refault.engines.shadow.state import machine, words
from refault.errors import ReplayCancelled
from refault.replay import operations as op
from refault.replay.compile.jit import INTERPRETED
from refault.replay.notes import simulating

if TYPE_CHECKING:
    from collections.abc import Sequence


class Host(shadow.Host):
    """One variant's host, and what each of its operations changed; the run is what it is without.

    It takes over ``opened``, which is of no use from then on. ``begins`` are the first addresses of
    the guest's regions.
    """

    def __init__(self, opened: shadow.Host, begins: Sequence[int]) -> None:
        # A session opens its hosts by their engine, and a snapshot restores them: this one is
        # made of such a host, with all it has.
        vars(self).update(vars(opened))
        self.account = ac.create(list(begins), self.share.ask)
        # The kernels tell of shadow pages where the event log would.
        self.machine.vm[words.EVENT_NEXT] = words.VM_WORDS
        self.machine.vm[words.EVENT_END] = words.VM_WORDS
        self._fit()

    def _fit(self) -> None:
        self.machine = machine.reserve(self.machine, self.share.ask)
        self.share.settle([*self.machine, *self.account])
        nodes = len(self.machine.link) // words.LINK_WORDS - 1
        self.account.state[ac.LINK_NODES] = nodes

    def take_over(self) -> None:
        """Sum what the host did before the trace: nothing of it is anybody's."""
        vm, account = self.machine.vm, self.account
        for c in range(ac.COUNTED):
            value = int(vm[c])
            for table in (account.causes, account.regions, account.marks, account.spaces):
                table[c] = value
            account.last[c] = value
        account.state[ac.PAGES_MAX] = int(vm[words.ACTIVE])

    def execute_sampled(self, ops: op.Operations, count: int, due: Sequence[int]) -> Any:
        """Execute ``count`` rows; answers a sample before each of the rows ``due``.

        At most DUE_MAX may be due; a sample has SAMPLE_WORDS numbers. There are fewer samples if
        the kernel breaks before.
        """
        state = self.account.state
        state[ac.DUE_NEXT], state[ac.DUE_COUNT] = 0, len(due)
        self.account.due[: len(due)] = due
        try:
            self.execute(ops, count)
        finally:
            state[ac.DUE_COUNT] = 0
        return self._taken()

    def sample(self) -> list[int]:
        """A sample as it is now."""
        self.account.state[ac.DUE_NEXT] = 0
        rows, log = op.empty(1, interpreted=INTERPRETED), self.notes.log
        loop.run_accounted(self.machine, self.account, rows, 0, 0, self.operation_count, log)
        return [int(word) for word in self._taken()[0]]

    def _taken(self) -> Any:
        count = int(self.account.state[ac.DUE_NEXT])
        taken = np.array(self.account.samples[: count * ac.SAMPLE_WORDS], np.int64)
        return taken.reshape(-1, ac.SAMPLE_WORDS)

    def _change_limit(self, limit: int) -> None:
        # Its row is none of the trace: no sample is due before it.
        state = self.account.state
        due, state[ac.DUE_COUNT] = state[ac.DUE_COUNT], 0
        super()._change_limit(limit)
        state[ac.DUE_COUNT] = due

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """As of a host without an account."""
        head, (vm, *rest) = super().pack()
        vm = vm[: words.VM_WORDS]
        if not isinstance(vm, list):
            vm = vm.copy()
        vm[words.EVENT_NEXT] = vm[words.EVENT_END] = 0
        return head, [vm, *rest]

    def _run(self, ops: op.Operations, start: int, end: int) -> int:
        at = start
        while at < end:
            if self._is_aborted:
                raise ReplayCancelled(shadow._ABORTED)  # noqa: SLF001 - one message
            shift = self.operation_count - at
            log = self.notes.log
            with simulating():
                done = loop.run_accounted(self.machine, self.account, ops, at, end, shift, log)
                if self._is_aborted:
                    raise ReplayCancelled(shadow._ABORTED)  # noqa: SLF001
                self.operation_count += done - at
                self.notes.take(ops)
            bug = int(self.machine.vm[words.BUG])
            if bug:
                self.stopped = True
                self.notes.findings.broke(*BUGS[bug], ops, done, self.operation_count)
                return done
            at = done
            if at < end:
                with simulating():
                    self._attend(ops, at)
                    self._fit()
        return end

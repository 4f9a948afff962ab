"""One variant's simulated host: the state of its machine, and what its run has shown so far."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

import numpy as np

from refault.errors import ReplayCancelled, ReplayRefused, SimulatorCrashed
from refault.mmu import layout as x86
from refault.mmu import machine
from refault.mmu import operations as op
from refault.mmu import replay as loop
from refault.mmu.budget import Budget
from refault.mmu.eventlog import EventLog
from refault.mmu.findings import FindingLog
from refault.mmu.jit import INTERPRETED
from refault.mmu.outcomes import OutcomeDigest
from refault.mmu.pageset import page_digest
from refault.results import ANSWERS, COUNTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refault.catalogue import Variant
    from refault.trace import TraceHeader

#: Rows executed at a time at most, for which a host has room to note outcomes.
ROWS = 1 << 15

#: What a defect in pure computation raises. Want of memory, of threads, of files or of stack is the
#: machine's, and is raised as it is.
DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
CRASH_LINES = 12
_ABORTED = "broken off: nobody wants the rest"


class Host:
    """One variant's simulated host, and what its run has shown so far.

    With ``sample_every`` n, the page set's digest and all counters are kept after every
    n operations; with ``record_all``, every outcome; with ``rows``, all counters after
    every operation. Those three are for comparison with golden results. ``events`` is given
    the text of KVM's tracepoints (:mod:`refault.mmu.eventlog`). Its arrays grow within ``budget``.
    """

    def __init__(
        self,
        variant: Variant,
        header: TraceHeader,
        *,
        record_all: bool = False,
        rows: bool = False,
        sample_every: int = 0,
        events: Callable[[str], object] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.variant = variant
        self.header = header
        self.findings = FindingLog()
        self.stopped = False
        self._is_aborted = False
        self.operation_count = 0
        self.outcomes = OutcomeDigest()
        self.events = EventLog(events, variant.knobs) if events else None
        self.share = (budget or Budget()).share()
        self.machine = machine.create(
            variant.knobs,
            bypass=0,
            interpreted=INTERPRETED,
            with_events=events is not None,
            ask=self.share.ask,
        )
        self.share.settle(self.machine)
        self.log = loop.new_log(ROWS, interpreted=INTERPRETED, rows=rows)
        self.log.state[loop.RECORD_ALL] = int(record_all)
        self.log.state[loop.ROWS] = int(rows)
        if record_all:
            self.findings.keep_raw()
        self.sample_every = sample_every
        self.samples: list[tuple[int, int, list[int]]] = []
        self.body_count = 0
        self.limit_is_due = variant.parameters.page_limit is not None

    def begin(self) -> None:
        """Execute what comes before a capture's first event: vCPUs and memory."""
        parameters = self.variant.parameters
        rows = op.empty(1 + len(self.header.slots), interpreted=INTERPRETED)
        rows.kind[0], rows.a[0] = op.VM, self.header.vcpu_count
        for i, slot in enumerate(self.header.slots, 1):
            rows.kind[i], rows.aux[i] = op.MEM, slot.slot
            rows.a[i], rows.b[i] = slot.base_gfn, slot.page_count
            rows.user[i] = max(slot.host_level, parameters.host_page_level)
        self._run(rows, 0, 1 + len(self.header.slots))
        if self.limit_is_due:
            self._set_first_limit()

    def _set_first_limit(self) -> None:
        limit = self.variant.parameters.page_limit
        if limit is not None:
            self._change_limit(limit if isinstance(limit, int) else limit.first)
        self.limit_is_due = False

    def execute(self, ops: op.Operations, count: int) -> None:
        """Execute ``count`` rows of the trace, up to where the kernel breaks.

        A schedule of the variant changes the page limit after every so many of them.
        """
        limit = self.variant.parameters.page_limit
        schedule = None if limit is None or isinstance(limit, int) else limit
        at = 0
        if self.limit_is_due:
            # A trace of operations makes its vCPUs and memory itself; the limit comes after them.
            while at < count and ops.kind[at] in (op.VM, op.NOTE, op.MEM):
                at += 1
            self._run(ops, 0, at)
            if at < count:
                self._set_first_limit()
        while at < count and not self.stopped:
            end = count
            if schedule is not None:
                end = min(count, at + schedule.every - self.body_count % schedule.every)
            done = self._run(ops, at, end)
            self.body_count += done - at
            at = done
            if schedule is not None and not self.stopped and not self.body_count % schedule.every:
                turn = self.body_count // schedule.every
                self._change_limit(schedule.then if turn % 2 else schedule.first)

    def abort(self) -> None:
        """Make :meth:`execute`, in another thread, end soon; the host is of no use any more."""
        self._is_aborted = True
        # Set in this order, so that a machine that takes the place of this one is not run.
        self.machine.vm[x86.ABORTED] = 1

    def _change_limit(self, limit: int) -> None:
        rows = op.empty(1, interpreted=INTERPRETED)
        rows.kind[0], rows.a[0] = op.NR_PAGES, limit
        self._run(rows, 0, 1)

    def _run(self, ops: op.Operations, start: int, end: int) -> int:
        """Execute rows ``start`` to ``end`` - 1; answers where it stopped."""
        at = start
        while at < end:
            if self._is_aborted:
                raise ReplayCancelled(_ABORTED)
            shift = self.operation_count - at
            stop = end
            if self.sample_every:
                stop = min(end, at + self.sample_every - self.operation_count % self.sample_every)
            with _simulating():
                done = loop.run(self.machine, ops, at, stop, shift, self.log)
                if self._is_aborted:
                    raise ReplayCancelled(_ABORTED)
                self.operation_count += done - at
                self.findings.take(self.log, ops, self.outcomes)
            if self.events:
                self.events.take(self.machine, is_over=lambda: self._is_aborted)
            bug = int(self.machine.vm[x86.BUG])
            if bug:
                self.stopped = True
                self.findings.broke(bug, ops, done, self.operation_count)
                return done
            at = done
            if at < stop:
                with _simulating():
                    self._attend(ops, at)
            elif self.sample_every and not self.operation_count % self.sample_every:
                counters = [int(word) for word in self.machine.vm[: x86.COUNTER_COUNT]]
                digest = page_digest(self.machine)
                self.samples.append((self.operation_count - 1, digest, counters))
        return end

    def _attend(self, ops: op.Operations, row: int) -> None:
        """Do what a kernel cannot: size arrays for vCPUs, slots and whatever ran short."""
        vm = self.machine.vm
        if ops.kind[row] == op.VM and not vm[x86.VCPU_COUNT]:
            count = int(ops.a[row])
            if not 1 <= count <= x86.CPUS_MAX:
                msg = f"event {int(ops.event[row])}: {count} vCPUs; a host has 1 to {x86.CPUS_MAX}"
                raise ReplayRefused(msg)
            vm[x86.VCPU_COUNT] = count
            bypass = self.variant.parameters.bypass
            if self.variant.parameters.tlb:
                self.machine = machine.add_tlb(self.machine, count, self.share.ask)
            machine.set_bypass(self.machine, int(ops.b[row]) & 1 if bypass is None else bypass)
        elif ops.kind[row] == op.MEM and not self._has_slot(int(ops.aux[row])):
            self.machine = machine.add_slot(
                self.machine,
                slot=int(ops.aux[row]),
                base_gfn=int(ops.a[row]),
                page_count=int(ops.b[row]),
                host_level=min(3, max(1, int(ops.user[row]))),
                ask=self.share.ask,
            )
            pages = machine.total_slot_pages(self.machine)
            self.machine.vm[x86.DEFAULT_LIMIT] = max(
                x86.MIN_ALLOC_PAGES, pages * x86.PERMILLE_PAGES // 1000
            )
        self.machine = machine.reserve(self.machine, self.share.ask)
        self.share.settle(self.machine)

    def _has_slot(self, slot: int) -> bool:
        if slot >= x86.SLOTS_MAX:
            msg = f"memory slot {slot} is not one of 0..{x86.SLOTS_MAX - 1}"
            raise ReplayRefused(msg)
        return bool(self.machine.vm[x86.SLOTS + slot * x86.SLOT_WORDS + x86.SLOT_USED])

    def counters(self) -> dict[str, int]:
        """Totals under KVM's names, in the order of :data:`refault.results.COUNTERS`."""
        return {name: int(self.machine.vm[place]) for place, name in enumerate(COUNTERS)}

    def tally(self, cls: int) -> list[int]:
        """The eight numbers of a witness class: as witnessed, then each way it was not."""
        place = loop.TALLY + cls * loop.TALLY_WORDS
        return [int(word) for word in self.log.state[place : place + loop.TALLY_WORDS]]

    def semantics(self) -> dict[str, int]:
        """How often the guest saw what the real one saw (:data:`refault.results.SEMANTICS`)."""
        witnessed = np.sum([self.tally(cls) for cls in range(op.WITNESS_UNSEEN)], axis=0)
        unseen = self.tally(op.WITNESS_UNSEEN)
        columns = int(loop.STALE)
        return {
            "accesses": int(witnessed[:columns].sum()) + sum(unseen[:columns]),
            "witnessed": int(witnessed[:columns].sum()),
            "wrong_address": int(witnessed[loop.WRONG_ADDRESS]),
            "missed_fault": int(witnessed[loop.MISSED_FAULT]),
            "spurious_fault": int(witnessed[loop.SPURIOUS_FAULT]),
            "wrong_error_code": int(witnessed[loop.WRONG_CODE]),
            "other": int(witnessed[loop.OTHER]),
            "stale": int(witnessed[loop.STALE]),
        }

    def work(self) -> dict[str, int]:
        """What the golden harness did not count (:data:`refault.results.WORK`)."""
        vm = self.machine.vm
        return {
            "tlb_hits": int(vm[x86.TLB_HITS]),
            "walks": int(vm[x86.WALKS]),
            "vm_exits": int(vm[x86.EXITS] + vm[x86.INTERCEPTS]),
            "mmio_exits": int(vm[x86.MMIO_EXITS]),
            "insn_emulation": int(vm[x86.INSN_EMULATION]),
            "insn_emulation_fail": int(vm[x86.INSN_EMULATION_FAIL]),
            "hypercalls": int(vm[x86.HYPERCALLS]),
        }

    def answers(self) -> dict[str, int]:
        """What operations that are no accesses answered (:data:`refault.results.ANSWERS`)."""
        words = self.log.state[loop.ANSWERS : loop.ANSWERS + loop.ANSWER_COUNT]
        return {name: int(word) for name, word in zip(ANSWERS, words, strict=True)}

    def skipped(self) -> dict[str, int]:
        """Operations that could not be executed, by reason."""
        words = self.log.state[loop.SKIPPED : loop.SKIPPED + len(loop.SKIP_REASONS)]
        return {
            reason: int(word) for reason, word in zip(loop.SKIP_REASONS, words, strict=True) if word
        }


@contextlib.contextmanager
def _simulating() -> Iterator[None]:
    """The only place a crash is made in; no callback of the caller's runs inside."""
    try:
        yield
    except DEFECTS as error:
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
        raise SimulatorCrashed("\n".join(lines[-CRASH_LINES:])) from error

"""One variant's simulated host: the state of its machine, and what its run has shown so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.catalogue import PatchSet, resolve
from refault.engines.base import Watch
from refault.engines.shadow import loop
from refault.engines.shadow.defects import BUGS, tell_livelock
from refault.engines.shadow.eventlog import EventLog
from refault.engines.shadow.state import checks, fields, machine, pageset, words
from refault.errors import ReplayCancelled
from refault.replay import operations as op
from refault.replay import records as rec
from refault.replay.budget import Budget
from refault.replay.compile import jit
from refault.replay.compile.jit import INTERPRETED
from refault.replay.guests import check_slot_number, check_vcpu_count
from refault.replay.notes import Notes, simulating
from refault.replay.snapshot_checks import need
from refault.results import COUNTERS
from refault.trace import TraceHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from refault.catalogue import Variant

_ABORTED = "the replay was aborted"


def open_host(variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> Host:
    """A host of this engine, before its first operation."""
    return Host(variant, header, budget, watch)


def warm_up() -> None:
    """Compile every kernel, or load it from the cache."""
    variant = resolve(PatchSet())
    host = Host(variant, TraceHeader("operations", "warm-up", "long", 1), Budget(), Watch())
    loop.run(host.machine, op.empty(1, interpreted=INTERPRETED), 0, 0, 0, host.notes.log)
    host.page_digest()


class Host:
    """One variant's simulated host; see :class:`refault.engines.base.Host`.

    Its arrays grow within ``budget``.
    """

    def __init__(self, variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> None:
        self.variant = variant
        self.header = header
        self.notes = Notes(
            tell_livelock,
            record_all=watch.record_all,
            counter_count=words.COUNTED_ROW_WORDS if watch.rows else 0,
        )
        self.stopped = False
        self._is_aborted = False
        self.operation_count = 0
        self.events = EventLog(watch.events, variant.knobs) if watch.events else None
        self.share = budget.share()
        self.machine = machine.create(
            variant.knobs,
            bypass=0,
            interpreted=INTERPRETED,
            with_events=watch.events is not None,
            ask=self.share.ask,
        )
        self.share.settle(self.machine)
        self.sample_every = watch.sample_every
        self.samples: list[tuple[int, int, list[int]]] = []
        self.body_count = 0
        self.limit_is_due = variant.parameters.page_limit is not None

    def begin(self) -> None:
        """Execute what comes before a capture's first event: vCPUs and memory."""
        level = self.variant.parameters.host_page_level
        rows = op.opening(self.header, host_level=level, interpreted=INTERPRETED)
        self._run(rows, 0, len(rows.kind))
        if self.limit_is_due:
            self._set_first_limit()

    def _set_first_limit(self) -> None:
        limit = self.variant.parameters.page_limit
        if limit is not None:
            self._change_limit(limit if isinstance(limit, int) else limit.first)
        self.limit_is_due = False

    def execute(self, ops: op.Operations, count: int) -> None:
        """Execute ``count`` rows of the trace, up to where the kernel breaks.

        A schedule of the variant changes the page limit every so many rows.
        """
        limit = self.variant.parameters.page_limit
        schedule = None if limit is None or isinstance(limit, int) else limit
        at = 0
        self._keep_rows(0)
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
        """Make :meth:`execute`, in another thread, end soon; the host cannot be used any more."""
        self._is_aborted = True
        # In this order, so that a machine that replaces this one meanwhile is not run.
        self.machine.vm[words.ABORTED] = 1

    def _change_limit(self, limit: int) -> None:
        rows = op.empty(1, interpreted=INTERPRETED)
        rows.kind[0], rows.a[0] = op.NR_PAGES, limit
        kept = self.notes.log.state[rec.ROWS] - 1
        self._run(rows, 0, 1)
        self._keep_rows(kept)

    def _keep_rows(self, count: int) -> None:
        """Keep so many of the rows of counters written since the latest ``execute``."""
        if self.notes.log.state[rec.ROWS]:
            self.notes.log.state[rec.ROWS] = 1 + count

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
            with simulating():
                done = loop.run(self.machine, ops, at, stop, shift, self.notes.log)
                if self._is_aborted:
                    raise ReplayCancelled(_ABORTED)
                self.operation_count += done - at
                self.notes.take(ops)
            if self.events:
                self.events.take(self.machine, is_over=lambda: self._is_aborted)
            bug = int(self.machine.vm[words.BUG])
            if bug:
                self.stopped = True
                self.notes.findings.broke(*BUGS[bug], ops, done, self.operation_count)
                return done
            at = done
            if at < stop:
                with simulating():
                    self._attend(ops, at)
            elif self.sample_every and not self.operation_count % self.sample_every:
                counters = [int(word) for word in self.machine.vm[: words.COUNTER_COUNT]]
                digest = pageset.page_digest(self.machine)
                self.samples.append((self.operation_count - 1, digest, counters))
        return end

    def _attend(self, ops: op.Operations, row: int) -> None:
        """Do what kernels cannot: make arrays longer, for vCPUs, slots and what ran out."""
        vm = self.machine.vm
        if ops.kind[row] == op.VM and not vm[words.VCPU_COUNT]:
            count = int(ops.a[row])
            check_vcpu_count(count, int(ops.event[row]))
            vm[words.VCPU_COUNT] = count
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
            self.machine.vm[words.DEFAULT_LIMIT] = max(
                words.MIN_ALLOC_PAGES, pages * words.PERMILLE_PAGES // 1000
            )
        self.machine = machine.reserve(self.machine, self.share.ask)
        self.share.settle(self.machine)

    def _has_slot(self, slot: int) -> bool:
        check_slot_number(slot)
        return bool(self.machine.vm[words.SLOTS + slot * words.SLOT_WORDS + words.SLOT_USED])

    def counters(self) -> dict[str, int]:
        """Totals under KVM's names, in the order of :data:`refault.results.COUNTERS`."""
        return {name: int(self.machine.vm[place]) for place, name in enumerate(COUNTERS)}

    def work(self) -> dict[str, int]:
        """What the golden harness did not count (:data:`refault.results.WORK`)."""
        vm = self.machine.vm
        return {
            "tlb_hits": int(vm[words.TLB_HITS]),
            "walks": int(vm[words.WALKS]),
            "vm_exits": int(vm[words.EXITS] + vm[words.INTERCEPTS]),
            "mmio_exits": int(vm[words.MMIO_EXITS]),
            "insn_emulation": int(vm[words.INSN_EMULATION]),
            "insn_emulation_fail": int(vm[words.INSN_EMULATION_FAIL]),
            "hypercalls": int(vm[words.HYPERCALLS]),
        }

    def page_digest(self) -> str:
        """A digest of the shadow pages in use."""
        return f"{pageset.page_digest(self.machine):016x}"

    def page_set(self) -> list[list[int]]:
        """The shadow pages in use (:func:`refault.engines.shadow.state.pageset.page_set`)."""
        return pageset.page_set(self.machine)

    def state(self) -> dict[str, Any]:
        """The words of the machine under their names, without unused vCPUs, slots and pages."""
        return fields.state_of(self.machine)

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """Counts for the head of a snapshot, and the seven arrays."""
        return {"body_count": self.body_count, "limit_is_due": self.limit_is_due}, self.machine

    def restore(
        self,
        head: Mapping[str, Any],
        sizes: Sequence[int],
        words_of: Callable[[int], Any],
    ) -> None:
        """Restore what ``pack`` gave."""
        checks.head(head)
        checks.machine_sizes(sizes)
        self.share.ask(sum(sizes), "its snapshot")
        found = machine.Machine(*map(words_of, sizes))
        checks.machine(found, self.variant.knobs)
        self.machine = machine.Machine(*map(jit.native, found))
        self.share.settle(self.machine)
        self.body_count, self.limit_is_due = head["body_count"], head["limit_is_due"]
        self.stopped = self.notes.findings.stopped is not None
        is_broken = bool(self.machine.vm[words.BUG])
        need(self.stopped == is_broken, "a host broke without a finding")

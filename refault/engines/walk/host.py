"""One guest on bare hardware: the state of its machine, and what its run has shown so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.catalogue import PatchSet, resolve
from refault.engines.base import Watch
from refault.engines.walk import loop, words
from refault.errors import ReplayCancelled, ReplayRefused
from refault.replay import operations as op
from refault.replay import x86
from refault.replay.budget import Budget
from refault.replay.compile.jit import INTERPRETED, native
from refault.replay.guests import check_vcpu_count
from refault.replay.notes import Notes, simulating
from refault.replay.snapshot_checks import counts, in_range, need, typed
from refault.trace import TraceHeader
from refault.trace.format import MAX_GFN, MAX_GUEST_PAGES, MAX_SLOTS, MAX_VCPUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from refault.catalogue import Variant

_ABORTED = "the replay was aborted"


def open_host(variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> Host:
    """A host of this engine, before its first operation."""
    return Host(variant, header, budget, watch)


def warm_up() -> None:
    """Compile every kernel, or load it from the cache."""
    variant = resolve(PatchSet("walk"))
    host = Host(variant, TraceHeader("operations", "warm-up", "long", 1), Budget(), Watch())
    loop.run(host.machine, op.empty(1, interpreted=INTERPRETED), 0, 0, 0, host.notes.log)


def _no_livelock(address: int) -> str:
    raise AssertionError(f"this engine has no livelocks: {address}")  # pragma: no cover


class Host:
    """One guest without a hypervisor; see :class:`refault.engines.base.Host`.

    Raises:
        ReplayRefused: an event log is asked for, which has KVM's tracepoints.
    """

    def __init__(self, variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> None:
        if watch.events is not None:
            raise ReplayRefused("an event log has KVM's tracepoints, and engine walk has no KVM")
        self.variant = variant
        self.header = header
        self.notes = Notes(_no_livelock, record_all=watch.record_all)
        self.operation_count = 0
        self.stopped = False
        self.samples: list[tuple[int, int, list[int]]] = []
        self._is_aborted = False
        self._share = budget.share()
        self.machine = words.create()
        self._share.settle(self.machine)

    def begin(self) -> None:
        """Make the processors and memory of a capture."""
        rows = op.opening(self.header, interpreted=INTERPRETED)
        self.execute(rows, len(rows.kind))

    def execute(self, ops: op.Operations, count: int) -> None:
        """Execute the first ``count`` rows."""
        at = 0
        while at < count:
            if self._is_aborted:
                raise ReplayCancelled(_ABORTED)
            with simulating():
                shift = self.operation_count - at
                done = loop.run(self.machine, ops, at, count, shift, self.notes.log)
                if self._is_aborted:
                    raise ReplayCancelled(_ABORTED)
                self.operation_count += done - at
                self.notes.take(ops)
                at = done
                if at < count:
                    self._attend(ops, at)

    def abort(self) -> None:
        """Make :meth:`execute`, in another thread, end soon; the host cannot be used any more."""
        self._is_aborted = True
        # In this order, so that a machine that replaces this one meanwhile is not run.
        self.machine.state[words.ABORTED] = 1

    def _attend(self, ops: op.Operations, row: int) -> None:
        """Do what kernels cannot: make arrays longer."""
        state = self.machine.state
        if ops.kind[row] == op.VM and not state[words.VCPU_COUNT]:
            count = int(ops.a[row])
            check_vcpu_count(count, int(ops.event[row]))
            state[words.VCPU_COUNT] = count
        elif ops.kind[row] == op.MEM and not self._has_slot(int(ops.aux[row])):
            self.machine = words.add_slot(
                self.machine,
                int(ops.aux[row]),
                int(ops.a[row]),
                int(ops.b[row]),
                self._share.ask,
            )
        self.machine = words.reserve(self.machine, self._share.ask)
        self._share.settle(self.machine)

    def _has_slot(self, slot: int) -> bool:
        place = words.SLOTS + slot * words.SLOT_WORDS
        return slot < MAX_SLOTS and bool(self.machine.state[place + words.SLOT_USED])

    def counters(self) -> dict[str, int]:
        """None: there is no host."""
        return {}

    def work(self) -> dict[str, int]:
        """None."""
        return {}

    def page_digest(self) -> str:
        """``none``: there are no shadow pages."""
        return "none"

    def page_set(self) -> list[list[int]]:
        """There are no shadow pages."""
        return []

    def state(self) -> dict[str, Any]:
        """Registers of each vCPU, and the memory slots."""
        state = self.machine.state
        names = {"cr0": words.CR0, "cr3": words.CR3, "cr4": words.CR4, "efer": words.EFER}
        vcpus = []
        for vcpu in range(int(state[words.VCPU_COUNT])):
            cpu = words.CPUS + vcpu * words.CPU_WORDS
            vcpus.append({name: hex(int(state[cpu + at])) for name, at in names.items()})
        return {"engine": "walk", "vcpus": vcpus, "slots": _slots(state)}

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """The four arrays."""
        return {}, self.machine

    def restore(
        self,
        head: Mapping[str, Any],
        sizes: Sequence[int],
        words_of: Callable[[int], Any],
    ) -> None:
        """Restore what ``pack`` gave."""
        typed(head, {})
        counts(sizes, len(words.Machine._fields))
        _check_sizes(sizes)
        self._share.ask(sum(sizes), "its snapshot")
        found = words.Machine(*map(words_of, sizes))
        _check(found)
        self.machine = words.Machine(*map(native, found))
        self._share.settle(self.machine)


def _slots(state: Any) -> list[dict[str, int]]:
    found = []
    for slot in range(int(state[words.SLOT_COUNT])):
        at = words.SLOTS + slot * words.SLOT_WORDS
        if state[at + words.SLOT_USED]:
            base, pages = state[at + words.SLOT_BASE], state[at + words.SLOT_PAGES]
            found.append({"slot": slot, "base_gfn": int(base), "page_count": int(pages)})
    return found


def _check_sizes(sizes: Sequence[int]) -> None:
    """Check, before memory is allocated, that a host's arrays can have these lengths."""
    state, frames, mem, result = sizes
    fits = (
        (state, result) == (words.STATE_WORDS, words.RESULT_WORDS)
        and 1 <= frames <= MAX_GUEST_PAGES + 1
        and x86.ENTRIES <= mem <= words.MEMORY_WORDS_MAX
    )
    need(fits, f"a host with arrays of {list(sizes)} words")


def _check(m: words.Machine) -> None:
    """Check that no word leads out of its array."""
    state = m.state
    need(0 <= state[words.VCPU_COUNT] <= MAX_VCPUS, "other vCPUs")
    need(0 <= state[words.SLOT_COUNT] <= MAX_SLOTS, "more memory slots than a host has")
    need(not state[words.ABORTED], "it is of a replay that was aborted")
    end = int(state[words.MEM_NEXT])
    need(x86.ENTRIES <= end <= len(m.mem), "guest memory ends outside its array")
    in_range(m.frames, 0, end - x86.ENTRIES + 1, "a frame's content")
    for slot in range(MAX_SLOTS):
        at = words.SLOTS + slot * words.SLOT_WORDS
        base, pages, first, used = (int(word) for word in state[at : at + words.SLOT_WORDS])
        inside = base >= 0 and pages >= 0 and base + pages <= MAX_GFN
        need(inside and used in (0, 1), "a memory slot outside memory")
        need(first >= 0 and first + pages <= len(m.frames), "a memory slot's frames lie outside")

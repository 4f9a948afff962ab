"""From the loop's records to findings, and to the digest of what the guest saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.mmu import layout as x86
from refault.mmu import operations as op
from refault.mmu import replay as loop
from refault.results import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Findings kept with a result; all of them are counted.
KEPT = 64

_BUGS = {
    x86.BUG_USE_AFTER_FREE: (
        "use-after-free",
        "the hash walk goes on at a shadow page that its own zap has freed",
    ),
    x86.BUG_EMPTY_LIST: (
        "empty-list",
        "the tail of an empty page list is taken for a shadow page",
    ),
    x86.BUG_ENDLESS_ZAP: (
        "endless-zap",
        "reclaim zaps pinned roots for ever and cannot reach its target",
    ),
    x86.BUG_ENDLESS_WALK: (
        "endless-walk",
        f"marking the ancestors of one page follows {x86.MARKS_MAX} links and is not done",
    ),
    x86.BUG_ENDLESS_LOOP: (
        "endless-loop",
        "the kernel's loops take step after step in one operation and come to no end",
    ),
    x86.BUG_ENDLESS_UNMAP: (
        "endless-loop",
        "a reverse map lists a leaf that is absent: removing it removes nothing, for ever",
    ),
    x86.BUG_LISTED_ABSENT: (
        "assertion",
        "a reverse map lists a leaf that is absent: it was overwritten and never taken off",
    ),
    x86.BUG_LARGE_AS_TABLE: (
        "large-as-table",
        "a guest without paging needs a table where a large leaf stands: its page is taken for one",
    ),
    x86.BUG_ASSERTION: ("assertion", "a reverse or back reference is not where it must be"),
}
_KINDS = {
    loop.WRONG_ADDRESS: "wrong-address",
    loop.SPURIOUS_FAULT: "spurious-fault",
    loop.MISSED_FAULT: "missed-fault",
    loop.WRONG_CODE: "wrong-error-code",
    loop.OTHER: "wrong-outcome",
}
_OUTCOMES = {
    x86.OUT_NONE: "did nothing",
    x86.OUT_MMIO: "reached a device",
    x86.OUT_FAIL: "could not be fetched",
    x86.OUT_GP: "#GP",
    x86.OUT_LIVELOCK: f"still faults after {x86.EXITS_MAX} exits",
    x86.OUT_TRIPLE: "shut the guest down",
}
_ACCESSES = {op.LD: "ld", op.EX: "ex", op.ST: "st", op.ST4: "st4", op.ST2: "st2", op.ST1: "st1"}
_WORD = (1 << 64) - 1


def _outcome(code: int, address: int) -> str:
    if code == x86.OUT_OK:
        return f"reached {address:#x}"
    if code in (x86.OUT_PF, x86.OUT_PF_DIRECT):
        return f"#PF {address}"
    if code == x86.OUT_LIVELOCK:
        return f"{_OUTCOMES[code]}: {_refusal(address)}"
    return _OUTCOMES[code]


def _refusal(what: int) -> str:
    """The entry that refuses again after every exit (mmu/access.py: refusal)."""
    level, bits = what & 7, what >> x86.PAGE_SHIFT
    if not level:
        return "its vCPU has no root"
    is_leaf = level == 1 or bits & x86.LARGE
    entry = f"the {'leaf' if is_leaf else 'link'} at level {level} of its shadow"
    if not bits & x86.PRESENT:
        return f"{entry} is absent again each time"
    grants = "".join(name for name, bit in (("w", x86.WRITABLE), ("u", x86.USER)) if bits & bit)
    why = "and no fault gives a link more" if not is_leaf else "and each fault leaves it so"
    return f"{entry} grants {grants or 'reading'} only, {why}"


class FindingLog:
    """The findings of one run: the first ones, the number of all, the one that stopped it."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.count = 0
        self.stopped: Finding | None = None
        self.raw: list[Any] | None = None

    def keep_raw(self) -> None:
        """Keep every record as well, for comparison with golden results."""
        self.raw = []

    def take(self, log: loop.Log, ops: op.Operations, outcomes: Any) -> None:
        """Work off the records of the rows just executed and empty the log."""
        count = int(log.state[loop.NEXT])
        if not count:
            return
        log.state[loop.NEXT] = 0
        size = count * loop.PACKED_WORDS
        packed = np.array(log.records[:size], np.int64).reshape(count, loop.PACKED_WORDS)
        shift = int(log.state[loop.SHIFT])
        if self.raw is not None:
            self.raw.append(_unfolded(packed, shift))
        codes = (packed[:, 0] >> loop.CODE_SHIFT) & 15
        outcomes.update(_seen(packed, codes, ops).tobytes())
        deviating = packed[packed[:, 0] & (7 << loop.DEVIATION_SHIFT) != 0]
        self.count += len(deviating)
        for record in _unfolded(deviating[: max(0, KEPT - len(self.kept))], shift):
            self.kept.append(_finding(record.tolist(), ops))

    def broke(self, bug: int, ops: op.Operations, row: int, operation_index: int) -> None:
        """The simulated kernel broke while executing ``row``."""
        kind, message = _BUGS[bug]
        vcpu = int(ops.vcpu[row]) if op.BOOT <= ops.kind[row] <= op.INVLPG else None
        self.stopped = Finding(
            kind=kind,
            event_index=int(ops.event[row]),
            operation_index=operation_index,
            vcpu=vcpu,
            gva=None,
            got=None,
            want=None,
            message=message,
        )
        self.count += 1
        self.kept.append(self.stopped)


def _unfolded(packed: Any, shift: int) -> Any:
    """Records with a column for each thing they tell (:mod:`refault.mmu.replay`)."""
    records = np.empty((len(packed), loop.RECORD_WORDS), np.int64)
    what = packed[:, 0]
    records[:, loop.ROW] = what >> loop.ROW_SHIFT
    records[:, loop.INDEX] = records[:, loop.ROW] + shift
    records[:, loop.CODE] = (what >> loop.CODE_SHIFT) & 15
    records[:, loop.DEVIATION] = (what >> loop.DEVIATION_SHIFT) & 7
    records[:, loop.IS_STALE] = (what >> 1) & 1
    records[:, loop.EMULATED] = what & 1
    records[:, loop.ADDRESS] = packed[:, 1]
    records[:, loop.VALUE] = packed[:, 2]
    records[:, loop.PROBE] = packed[:, 3]
    return records


def _seen(packed: Any, codes: Any, ops: op.Operations) -> Any:
    """What guest and host saw of each record, without how the host managed it.

    (event, outcome, address or code or answer, value).
    """
    events: Sequence[int] = ops.event
    view = np.empty((len(packed), 4), "<i8")
    view[:, 0] = np.asarray(events)[packed[:, 0] >> loop.ROW_SHIFT]
    view[:, 1] = np.where(codes == x86.OUT_PF_DIRECT, x86.OUT_PF, codes)
    view[:, 2:] = packed[:, 1:3]
    return view


def _finding(record: list[int], ops: op.Operations) -> Finding:
    row = record[loop.ROW]
    code, address = record[loop.CODE], record[loop.ADDRESS]
    cls, want = int(ops.cls[row]), int(ops.want[row])
    kind = _KINDS[record[loop.DEVIATION] - 1]
    if code == x86.OUT_LIVELOCK:
        kind = "livelock"
    real = {
        op.WITNESS_NONE: "; real guest: it succeeded",
        op.WITNESS_FAULT: f"; real guest: #PF {want}",
        op.WITNESS_UNSEEN: "",
    }.get(cls, f"; real guest: {want:#x}")
    who = "user" if ops.user[row] else "kernel"
    return Finding(
        kind=kind,
        event_index=int(ops.event[row]),
        operation_index=record[loop.INDEX],
        vcpu=int(ops.vcpu[row]),
        gva=int(ops.a[row]) & _WORD,
        got=None if code == x86.OUT_LIVELOCK else address & _WORD,
        want=None if cls in (op.WITNESS_NONE, op.WITNESS_UNSEEN) else want & _WORD,
        message=f"{_ACCESSES[int(ops.kind[row])]} {who} {_outcome(code, address)}{real}",
    )

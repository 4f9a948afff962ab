"""Makes findings, and the digest of what the guest saw, from the loop's records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.results import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Findings kept with a result; all of them are counted.
KEPT = 64

_KINDS = {
    rec.WRONG_ADDRESS: "wrong-address",
    rec.SPURIOUS_FAULT: "spurious-fault",
    rec.MISSED_FAULT: "missed-fault",
    rec.WRONG_CODE: "wrong-error-code",
    rec.OTHER: "wrong-outcome",
    rec.LOST: "lost-dirty-page",
}
_OUTCOMES = {
    out.NONE: "did nothing",
    out.MMIO: "reached a device",
    out.FAIL: "could not be fetched",
    out.GP: "#GP",
    out.TRIPLE: "shut the guest down",
}
_ACCESSES = {op.LD: "ld", op.EX: "ex", op.ST: "st", op.ST4: "st4", op.ST2: "st2", op.ST1: "st1"}
_WORD = (1 << 64) - 1


def _outcome(code: int, address: int, tell_livelock: Callable[[int], str]) -> str:
    if code == out.OK:
        return f"reached {address:#x}"
    if code in (out.PF, out.PF_DIRECT):
        return f"#PF {address}"
    if code == out.LIVELOCK:
        return tell_livelock(address)
    return _OUTCOMES[code]


class FindingLog:
    """The findings of one run: the first ones, the number of all, the one that stopped it.

    ``tell_livelock`` says what the address of a LIVELOCK means, in the engine's words.
    """

    def __init__(self, tell_livelock: Callable[[int], str]) -> None:
        self._tell_livelock = tell_livelock
        self.kept: list[Finding] = []
        self.count = 0
        self.stopped: Finding | None = None
        self.raw: list[Any] | None = None

    def keep_raw(self) -> None:
        """Keep every record as well, for comparison with golden results."""
        self.raw = []

    def take(self, log: rec.Log, ops: op.Operations, outcomes: Any) -> None:
        """Process the records of the rows just executed, and empty the log."""
        count = int(log.state[rec.NEXT])
        if not count:
            return
        log.state[rec.NEXT] = 0
        size = count * rec.PACKED_WORDS
        packed = np.array(log.records[:size], np.int64).reshape(count, rec.PACKED_WORDS)
        shift = int(log.state[rec.SHIFT])
        if self.raw is not None:
            self.raw.append(_unfolded(packed, shift))
        codes = (packed[:, 0] >> rec.CODE_SHIFT) & 15
        seen = _seen(packed, codes, ops)
        outcomes.append(seen.tobytes(), _lawful(seen, packed))
        deviating = packed[packed[:, 0] & (7 << rec.DEVIATION_SHIFT) != 0]
        self.count += len(deviating)
        for record in _unfolded(deviating[: max(0, KEPT - len(self.kept))], shift):
            self.kept.append(self._finding(record.tolist(), ops))

    def broke(
        self, kind: str, message: str, ops: op.Operations, row: int, operation_index: int
    ) -> None:
        """The simulated kernel broke while executing ``row``."""
        vcpu = int(ops.vcpu[row]) if op.names_a_vcpu(int(ops.kind[row])) else None
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

    def _finding(self, record: list[int], ops: op.Operations) -> Finding:
        row = record[rec.ROW]
        code, address = record[rec.CODE], record[rec.ADDRESS]
        cls, want = int(ops.cls[row]), int(ops.want[row])
        kind = _KINDS[record[rec.DEVIATION] - 1]
        if kind == _KINDS[rec.LOST]:
            return _lost(record, int(ops.event[row]))
        if code == out.LIVELOCK:
            kind = "livelock"
        real = {
            op.WITNESS_NONE: "; real guest: it succeeded",
            op.WITNESS_FAULT: f"; real guest: #PF {want}",
            op.WITNESS_UNSEEN: "",
        }.get(cls, f"; real guest: {want:#x}")
        who = "user" if ops.user[row] else "kernel"
        came_out = _outcome(code, address, self._tell_livelock)
        return Finding(
            kind=kind,
            event_index=int(ops.event[row]),
            operation_index=record[rec.INDEX],
            vcpu=int(ops.vcpu[row]),
            gva=int(ops.a[row]) & _WORD,
            got=None if code == out.LIVELOCK else address & _WORD,
            want=None if cls in (op.WITNESS_NONE, op.WITNESS_UNSEEN) else want & _WORD,
            message=f"{_ACCESSES[int(ops.kind[row])]} {who} {came_out}{real}",
        )


def _lost(record: list[int], event: int) -> Finding:
    """A dirty log that lacks pages: a guest that is migrated by it is not what it was."""
    lost, written = lost_and_written(record[rec.PROBE])
    of = f"{lost:,} of the {written:,} pages" if written > 1 else "the page"
    told = f"{of} written since it was last read {'is' if lost == 1 else 'are'} not in it"
    return Finding(
        kind=_KINDS[rec.LOST],
        event_index=event,
        operation_index=record[rec.INDEX],
        vcpu=None,
        gva=None,
        got=record[rec.ADDRESS],
        want=written,
        message=f"dirty log: {told}",
    )


def lost_and_written(probe: int) -> tuple[int, int]:
    """Of a dirty log's record: written pages that it lacks, and all written ones."""
    return probe >> rec.LOST_SHIFT, (probe & ((1 << rec.LOST_SHIFT) - 1)) >> 1


def _lawful(seen: Any, packed: Any) -> bytes | None:
    """The same rows, of each dirty log only how many written pages it lacks; None without logs."""
    is_answer = seen[:, 1] == out.RETURN
    if not is_answer.any():
        return None
    is_log = is_answer & (packed[:, 3] & rec.LOG_JUDGED != 0)
    if not is_log.any():
        return None
    lawful = seen.copy()
    lawful[is_log, 2] = packed[is_log, 3] >> rec.LOST_SHIFT
    lawful[is_log, 3] = 0
    return bytes(lawful.tobytes())


def _unfolded(packed: Any, shift: int) -> Any:
    """Records unfolded into columns (:mod:`refault.replay.records`)."""
    records = np.empty((len(packed), rec.RECORD_WORDS), np.int64)
    what = packed[:, 0]
    records[:, rec.ROW] = what >> rec.ROW_SHIFT
    records[:, rec.INDEX] = records[:, rec.ROW] + shift
    records[:, rec.CODE] = (what >> rec.CODE_SHIFT) & 15
    records[:, rec.DEVIATION] = (what >> rec.DEVIATION_SHIFT) & 7
    records[:, rec.IS_STALE] = (what >> 1) & 1
    records[:, rec.EMULATED] = what & 1
    records[:, rec.ADDRESS] = packed[:, 1]
    records[:, rec.VALUE] = packed[:, 2]
    records[:, rec.PROBE] = packed[:, 3]
    return records


def _seen(packed: Any, codes: Any, ops: op.Operations) -> Any:
    """What guest and host saw of each record, but not how the host did it.

    Columns: event; outcome; address, code or answer; value.
    """
    events: Sequence[int] = ops.event
    view = np.empty((len(packed), 4), "<i8")
    view[:, 0] = np.asarray(events)[packed[:, 0] >> rec.ROW_SHIFT]
    view[:, 1] = np.where(codes == out.PF_DIRECT, out.PF, codes)
    view[:, 2:] = packed[:, 1:3]
    return view

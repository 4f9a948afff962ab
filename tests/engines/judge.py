"""Holds a simulated host against what a script demands: guest walk, shadow result, memory."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from refault.engines.shadow.arch.guest import read_word
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.walk import probe, walk_addr
from refault.engines.shadow.state import words
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.compile.jit import door
from refault.replay.lowering.rows import ROWS
from refault.trace import TraceHeader
from tests.engines import defects
from tests.engines.hosts import Host

#: Outcomes that are neither an address nor -1 - an error code.
DEVICE, NO_MEMORY, PROTECTION, DONE, STRANGE = -1000, -1001, -1002, -1003, -2000
_OUTCOMES = {
    out.MMIO: DEVICE,
    out.FAIL: NO_MEMORY,
    out.GP: PROTECTION,
    out.NONE: DONE,
}


@door
def _probe_all(m, ops, rows, out):
    for i in range(len(rows)):
        row = rows[i]
        kind = ops.kind[row]
        out[i] = probe(
            m, cpu_of(ops.vcpu[row]), ops.a[row], kind == op.ST, ops.user[row], kind == op.EX
        )


@door
def _walk_all(m, ops, rows, out):
    for i in range(len(rows)):
        row = rows[i]
        cpu = cpu_of(ops.vcpu[row])
        kind = ops.kind[row]
        fetch = kind == op.EX and (m.vm[cpu + words.EFER] & x86.EFER_NX or m.vm[words.BYPASS])
        if walk_addr(m, cpu, ops.a[row], kind == op.ST, ops.user[row], fetch, 1):
            out[i] = (m.vm[words.WALK_GFN] << 12) | (ops.a[row] & 0xFFF)
        else:
            out[i] = -1 - m.vm[words.WALK_ERROR]


@door
def _read_all(m, gpas, out):
    for i in range(len(gpas)):
        out[i] = read_word(m, gpas[i])


@dataclass
class Verdict:
    """How many outcomes were judged, which defects showed how often, and what else differed."""

    judged: int = 0
    shown: Counter = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    difference_count: int = 0

    def note(self, text):
        self.difference_count += 1
        if len(self.differences) < 20:
            self.differences.append(text)


class Judge:
    """One script under one variant of one kernel."""

    def __init__(self, script, variant, kernel, *, bypass=0):
        self.script = script
        self.bypass = bypass
        self.defects = [
            defect
            for defect in defects.known()
            if kernel in defect.kernels and (bypass or not defect.only_with_bypass)
        ]
        self.variant = variant
        self.verdict = Verdict()

    def shadow(self):
        """Execute every access; before that, probe what the guest's tables give."""
        host = self._host()
        for number, segment in enumerate(self.script.segments):
            ops, base = self._operations(segment, number), host.operation_count
            self._execute(host, ops, 0, segment.first_access)
            if segment.demands:
                self._compare_probes(host, segment, ops)
            self._execute(host, ops, segment.first_access, len(segment.rows))
            got, values, refused = self._outcomes(host, segment, base)
            expected = self._in_memory(segment, self._expected(segment, guest_walk=False))
            self._compare(segment, got, expected, "access")
            self._compare_values(segment, values)
            self._compare_refusals(segment, refused)
            self._compare_memory(host, segment, "access")
        return self.verdict

    def guest_walk(self):
        """Walk the guest's tables for every access, as the fault handler does."""
        host = self._host()
        for number, segment in enumerate(self.script.segments):
            ops = self._operations(segment, number)
            self._execute(host, ops, 0, segment.first_access)
            if segment.demands:
                out = np.empty(len(segment.demands), np.int64)
                _walk_all(host.machine, ops, segment.places, out)
                self._compare(segment, out, self._expected(segment, guest_walk=True), "walk")
            self._compare_memory(host, segment, "walk")
        return self.verdict

    def _compare_probes(self, host, segment, ops):
        out = np.empty(len(segment.demands), np.int64)
        _probe_all(host.machine, ops, segment.places, out)
        self._compare(segment, out, self._expected(segment, guest_walk=True), "probe")

    def _host(self):
        header = TraceHeader("operations", "judged", "long", self.script.vcpu_count)
        return Host(self.variant, header, record_all=True)

    def _operations(self, segment, number):
        if number == 0:
            segment.operations.b[0] = self.bypass
        return segment.operations

    def _execute(self, host, ops, start, end):
        for at in range(start, end, ROWS):
            part = op.Operations(*(column[at : min(end, at + ROWS)] for column in ops))
            host.execute(part, len(part.kind))
        assert not host.stopped, host.notes.findings.stopped
        assert not host.notes.skipped(), host.notes.skipped()

    def _expected(self, segment, *, guest_walk):
        expected = segment.outcomes.copy()
        blamed = {}
        for defect in self.defects:
            if defect.in_guest_walk or not guest_walk:
                for place, other in segment.instead.get(defect.name, {}).items():
                    expected[place] = other
                    blamed[place] = defect.name
        shown = Counter(blamed.values())
        for defect in self.defects:
            for place, bits in segment.flags.get(defect.name, {}).items():
                code = -1 - expected[place]
                if 0 <= code < 32 and code | bits != code:
                    expected[place] = -1 - (code | bits)
                    shown[defect.name] += 1
        self.verdict.shown += shown
        return expected

    def _in_memory(self, segment, expected):
        """Addresses that are no memory, as the outcomes they have."""
        inside = expected < 0
        for base, size, _ in self.script.slots:
            inside |= (expected >= base) & (expected < base + size)
        return np.where(inside, expected, np.where(segment.fetches, NO_MEMORY, DEVICE))

    def _outcomes(self, host, segment, base):
        got = np.full(len(segment.rows), DONE, np.int64)
        values = np.zeros(len(segment.rows), np.int64)
        for records in host.notes.findings.raw:
            codes, addresses = records[:, rec.CODE], records[:, rec.ADDRESS]
            outcome = np.full(len(records), STRANGE, np.int64) - codes
            for code, meaning in _OUTCOMES.items():
                outcome[codes == code] = meaning
            faults = (codes == out.PF) | (codes == out.PF_DIRECT)
            outcome[faults] = -1 - addresses[faults]
            outcome[codes == out.OK] = addresses[codes == out.OK]
            rows = records[:, rec.INDEX] - base
            got[rows] = outcome
            values[rows] = records[:, rec.VALUE]
        host.notes.findings.raw.clear()
        return got[segment.places], values[segment.places], got == PROTECTION

    def _compare(self, segment, got, expected, what):
        self.verdict.judged += len(got)
        for place in np.flatnonzero(got != expected):
            gva, access = segment.accesses[place]
            who = "user" if access.user else "supervisor"
            self.verdict.note(
                f"{what} of {gva:#x}, {access.kind} by {who}: "
                f"expected {_text(expected[place])}, got {_text(got[place])}"
            )

    def _compare_refusals(self, segment, refused):
        """Register writes: #GP where the architecture demands it."""
        for row, wanted in segment.refusals.items():
            accepting = [
                defect.name
                for defect in self.defects
                if row in segment.accepted.get(defect.name, ())
            ]
            self.verdict.shown.update(accepting)
            self.verdict.judged += 1
            if refused[row] != (wanted and not accepting):
                self.verdict.note(f"register write {segment.rows[row]}: #GP expected: {wanted}")

    def _compare_values(self, segment, values):
        excused = self._excused(segment)
        for place, value in segment.values.items():
            word = segment.demands[place] & ~7
            if word not in excused and int(values[place]) % (1 << 64) != value:
                gva, _ = segment.accesses[place]
                self.verdict.note(f"load of {gva:#x}: expected {value:#x}, got {values[place]:#x}")

    def _compare_memory(self, host, segment, what):
        """Everything that may have changed: tables with their A and D flags, and stored data."""
        addresses, must, may = segment.words
        got = self._words_at(host, addresses)
        # Where A may be set besides, it is compared as if it were.
        differing = (got | may) != (must | may)
        differing |= (must & ~got) != 0
        lost, excused = {}, self._excused(segment)
        for defect in self.defects if what == "access" else ():
            lost |= segment.lost.get(defect.name, {})
        for place in np.flatnonzero(differing):
            word = int(addresses[place])
            if word in excused or (what == "walk" and word in segment.stored):
                continue
            if must[place] & ~lost.get(word, 0) != got[place]:
                self.verdict.note(
                    f"memory at {word:#x} after {what}: "
                    f"expected {must[place]:#x}, got {got[place]:#x}"
                )
        for word, bits in lost.items():
            if got[addresses == word][0] & bits:
                self.verdict.note(f"memory at {word:#x}: D set, and should have been lost")

    def _words_at(self, host, gpas):
        found = np.empty(len(gpas), np.int64)
        _read_all(host.machine, gpas, found)
        return found

    def _excused(self, segment):
        """Words that a defect this kernel has may have changed otherwise."""
        return set().union(*(segment.excused.get(defect.name, ()) for defect in self.defects))


def _text(outcome):
    outcome = int(outcome)
    if outcome >= 0:
        return f"{outcome:#x}"
    names = {DEVICE: "a device", NO_MEMORY: "no memory", PROTECTION: "#GP", DONE: "nothing"}
    if outcome <= STRANGE:
        return f"outcome {STRANGE - outcome}"
    return names.get(outcome, f"#PF {-1 - outcome}")

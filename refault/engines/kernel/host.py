"""One run of a tree's own code: a program for it, and what it has shown so far."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.catalogue import Schedule
from refault.engines.base import Watch
from refault.engines.kernel import channel, judge
from refault.engines.kernel.process import Program, ProgramDied
from refault.engines.kernel.rows import Rows, give
from refault.errors import ReplayCancelled, ReplayRefused, SnapshotRefused
from refault.linux.store import Store
from refault.replay import operations as op
from refault.replay.budget import WORD_BYTES, Budget, Share
from refault.replay.compile.jit import INTERPRETED
from refault.replay.findings import KEPT
from refault.replay.guests import check_slot, check_vcpu_count, has_five_levels
from refault.replay.lowering.rows import ROWS
from refault.replay.notes import Notes, simulating
from refault.replay.outcomes import OutcomeDigest
from refault.replay.records import RECORD_ALL
from refault.results import Finding
from refault.trace import TraceHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from refault.catalogue import Variant

_ABORTED = "broken off: nobody wants the rest"
#: What a counter may be called.
_NAME = re.compile(r"[a-z0-9_]{1,48}")
#: Processor time a run may take; a loop in the kernel that never ends is ended by it.
CPU_SECONDS = 24 * 3600
_TEXT_MAX = 200
_WORD = (1 << 64) - 1


def open_host(variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> Host:
    """A host of this engine, before its first operation."""
    return Host(variant, header, budget, watch)


def warm_up() -> None:
    """Compile what judges outcomes, or load it from the cache."""
    notes = Notes(tell_livelock)
    words = np.zeros(1, np.int64)
    small = np.zeros(1, np.uint8)
    ops = op.empty(1, interpreted=INTERPRETED)
    give(ops, Rows(*[small] * 5, *[words] * 3), 0, 0)
    told = judge.Told(words, words, words)
    outcomes = judge.Outcomes(small, words, words, words)
    judge.take(ops, told, outcomes, 0, 0, 0, notes.log, new_seen())


def new_seen() -> judge.Seen:
    """Room for what guest and host saw of one block."""
    words = np.zeros(ROWS * judge.SEEN_WORDS, np.int64)
    if INTERPRETED:
        return judge.Seen([0], words.tolist(), words.tolist())
    return judge.Seen(np.zeros(1, np.int64), words, words.copy())


def tell_livelock(address: int) -> str:
    """What refused an access again and again: the level of an entry, and its low bits."""
    level, bits = address & 0xFFF, address >> 12 & 0xFFF
    what = f"an entry {bits:#x}" if bits else "an absent entry"
    return f"faulted again and again: {what} of level {level} refuses it"


class Host:
    """One guest under a tree's own code; see :class:`refault.engines.base.Host`.

    Raises:
        ReplayRefused: an event log is asked for, or the program cannot be started.
    """

    def __init__(self, variant: Variant, header: TraceHeader, budget: Budget, watch: Watch) -> None:
        if watch.events is not None or watch.rows:
            raise ReplayRefused("the engine kernel has no log of events and no counters a row")
        self.variant = variant
        self.header = header
        self.notes = Notes(tell_livelock, record_all=watch.record_all)
        self.operation_count = 0
        self.stopped = False
        self.samples: list[tuple[int, int, list[int]]] = []
        self._share = budget.share()
        self._is_aborted = False
        self._seen = new_seen()
        self._slots: list[tuple[int, int, int]] = []
        self._vcpu_count = 0
        # Rows of the trace itself; the opening and changes of the limit are none.
        self._body_count = 0
        self._limit_is_due = variant.parameters.page_limit is not None
        store = Store()
        build = store.named(variant.build)
        try:
            self.program = self._started(store.program(build.digest), build.is_sanitized)
        except ProgramDied as died:
            raise ReplayRefused(f"the kernel's program {died}") from died
        words = self.program.words
        if has_five_levels(header):
            self._allow_five_levels()
        self._rows = Rows(*(words[name] for name in Rows._fields))
        self._outcomes = judge.Outcomes(*(words[name] for name in judge.Outcomes._fields))
        self._take_reports(None, 0)

    def _started(self, path: Path, is_sanitized: bool) -> Program:
        pages = sum(slot.page_count for slot in self.header.slots)
        return Program(
            path,
            # A page and what the kernel keeps of it; a trace of operations may ask for any.
            guest_bytes=pages * (4096 + 64) or 1 << 40,
            on_memory=functools.partial(_settle, self._share),
            cpu_seconds=CPU_SECONDS,
            is_sanitized=is_sanitized,
            tdp=self.variant.parameters.tdp,
            host_level=self.variant.parameters.host_page_level,
        )

    def _allow_five_levels(self) -> None:
        words = self.program.words
        if not words["lists_rows"]:
            self.program.close()
            raise ReplayRefused(
                "this kernel was built by a refault that knew four levels of page tables, and the "
                "guest has five; build it again: refault kernel build TREE --name NAME"
            )
        words["has_la57"] = 1

    def begin(self) -> None:
        """Make the vCPUs and memory of a capture."""
        self.program.words["is_captured"] = 1
        rows = op.opening(self.header, interpreted=INTERPRETED)
        self._run(rows, 0, len(rows.kind))
        self._set_first_limit()

    def _set_first_limit(self) -> None:
        limit = self.variant.parameters.page_limit
        self._limit_is_due = False
        if limit is not None:
            self._change_limit(limit if isinstance(limit, int) else limit.first)

    def _change_limit(self, limit: int) -> None:
        rows = op.empty(1, interpreted=INTERPRETED)
        rows.kind[0], rows.a[0] = op.NR_PAGES, limit
        self._run(rows, 0, 1)

    def execute(self, ops: op.Operations, count: int) -> None:
        """Execute the first ``count`` rows, up to where the kernel breaks.

        A schedule of the variant changes the page limit every so many rows.
        """
        limit = self.variant.parameters.page_limit
        schedule = limit if isinstance(limit, Schedule) else None
        at = 0
        if self._limit_is_due:
            # A trace of operations makes its vCPUs and memory itself; the limit comes after them.
            while at < count and ops.kind[at] in (op.VM, op.NOTE, op.MEM):
                at += 1
            self._run(ops, 0, at)
            if at < count:
                self._set_first_limit()
        while at < count and not self.stopped:
            end = count
            if schedule is not None:
                end = min(count, at + schedule.every - self._body_count % schedule.every)
            self._run(ops, at, end)
            self._body_count += end - at
            at = end
            if schedule is not None and not self._body_count % schedule.every:
                turn = self._body_count // schedule.every
                self._change_limit(schedule.then if turn % 2 else schedule.first)

    def abort(self) -> None:
        """Make :meth:`execute`, in another thread, end soon; the host is of no use any more."""
        self._is_aborted = True
        self.program.abort()

    def _run(self, ops: op.Operations, start: int, end: int) -> None:
        if self.stopped or start >= end:
            return
        if self._is_aborted:
            raise ReplayCancelled(_ABORTED)
        if give(ops, self._rows, start, end):
            self._check_rows(ops, start, end)
        words = self.program.words
        # Who looks at one row has all recorded from there on.
        keeps_all = int(self.notes.log.state[RECORD_ALL])
        words["wants_all"], words["is_terse"] = keeps_all, 1 - keeps_all
        died = None
        try:
            self.program.execute(start, end)
        except ProgramDied as error:
            if not error.is_its_own:
                raise ReplayRefused(f"the kernel's program {error}") from error
            died = error
        # Copied before it is looked at: the program could still write.
        done = int(words["done"])
        is_stopped = died is not None or bool(words["is_stopped"])
        if not start <= done <= end or (done < end and not is_stopped):
            raise self._lied(f"it was asked for rows {start} to {end} and did {done}")
        shift = self.operation_count - start
        with simulating():
            self._judge(ops, start, done, shift)
        self._take_reports(ops, shift)
        self.operation_count += done - start
        if died is not None:
            kind = "sandbox" if died.is_forbidden else "crash"
            row = min(done, end - 1)
            self.stopped = True
            self.notes.findings.broke(kind, f"the program {died}", ops, row, row + shift)

    def _judge(self, ops: op.Operations, start: int, done: int, shift: int) -> None:
        told, outcomes = self._told(start, done)
        if INTERPRETED:
            told = judge.Told(*(column.tolist() for column in told))
            outcomes = judge.Outcomes(*(column.tolist() for column in outcomes))
        judged = judge.take(ops, told, outcomes, start, done, shift, self.notes.log, self._seen)
        if judged != done:
            raise self._lied(f"row {judged} has an outcome that no operation has")
        size = int(self._seen.count[0]) * judge.SEEN_WORDS
        if size:
            seen = self._seen
            lawful = _bytes_of(seen.lawful[:size]) if self.notes.logs() else None
            self.notes.outcomes.append(_bytes_of(seen.words[:size]), lawful)
            # They are in the digest already, with those that leave no finding.
            self.notes.findings.take(self.notes.log, ops, OutcomeDigest())

    def _told(self, start: int, done: int) -> tuple[judge.Told, judge.Outcomes]:
        """A copy of which rows the program tells of and of their codes; and what came of them."""
        words = self.program.words
        if words["lists_rows"]:
            listed = min(int(words["row_count"]), ROWS)
            rows, place = words["listed"][:listed].astype(np.int64), slice(listed)
        else:
            # Built by an earlier refault: it tells of each.
            rows, place = np.arange(start, done), slice(start, done)
        codes = words["code"][place].astype(np.int64)
        outcomes = judge.Outcomes(*(column[place] for column in self._outcomes))
        return judge.Told(np.array([len(rows)]), rows, codes), outcomes

    def _check_rows(self, ops: op.Operations, start: int, end: int) -> None:
        """Refuse what no host can have, as the other engines do."""
        kinds = np.asarray(ops.kind[start:end])
        special = (kinds == op.VM) | (kinds == op.MEM) | (kinds == op.MEM_DELETE)
        for row in (np.flatnonzero(special) + start).tolist():
            if ops.kind[row] == op.VM and not self._vcpu_count:
                self._vcpu_count = int(ops.a[row])
                check_vcpu_count(self._vcpu_count, int(ops.event[row]))
                if int(ops.b[row]) & 1 and self.variant.parameters.bypass != 0:
                    raise ReplayRefused(
                        "it was recorded with bypass_guest_pf, an option that these kernels do not "
                        "have; replay it with --bypass 0"
                    )
            elif ops.kind[row] == op.MEM and not self._slot(int(ops.aux[row])):
                slot = (int(ops.aux[row]), int(ops.a[row]), int(ops.b[row]))
                check_slot(*slot, self._slots)
                self._slots.append(slot)
            elif ops.kind[row] == op.MEM_DELETE:
                self._slots = [slot for slot in self._slots if slot[0] != int(ops.aux[row])]

    def _slot(self, number: int) -> bool:
        return any(slot[0] == number for slot in self._slots)

    # --- what the program wrote besides outcomes ----------------------------------------------

    def _take_reports(self, ops: op.Operations | None, shift: int) -> None:
        words = self.program.words
        count = min(int(words["report_count"]), channel.REPORTS)
        if not count:
            return
        for report in words["reports"][:count].copy():
            text = _clean(report["text"])
            kind = int(report["kind"])
            if ops is None:
                if kind == channel.STOPPED:
                    raise ReplayRefused(f"the kernel cannot be started: {text}")
                continue
            row = min(int(report["row"]), len(ops.kind) - 1)
            if kind == channel.STOPPED:
                self.stopped = True
                name, _, what = text.partition(": ")
                self.notes.findings.broke(name or "stopped", what or text, ops, row, row + shift)
            elif kind == channel.MISSED_FLUSH:
                self._note("missed-flush", text, ops, row, row + shift, int(report["count"]))
            else:
                text = f"WARN at {text}"
                self._note("kernel-warning", text, ops, row, row + shift, int(report["count"]))

    def _note(
        self, kind: str, text: str, ops: op.Operations, row: int, index: int, count: int
    ) -> None:
        """Keep a report after which the kernel went on."""
        times = "" if count == 1 else f" ({count:,} times in this block)"
        what = int(ops.kind[row])
        vcpu = int(ops.vcpu[row]) if op.names_a_vcpu(what) else None
        # Only an access finds out what a flush left behind; a WARN has no address.
        is_access = kind == "missed-flush" and op.LD <= what <= op.ST1
        gva = int(ops.a[row]) & _WORD if is_access else None
        findings = self.notes.findings
        findings.count += count
        if len(findings.kept) < KEPT:
            event = int(ops.event[row])
            message = f"{text}{times}"
            findings.kept.append(Finding(kind, event, index, vcpu, gva, None, None, message))

    def _lied(self, what: str) -> ReplayRefused:
        self.program.abort()
        return ReplayRefused(f"the kernel's program answered what cannot be: {what}")

    def counters(self) -> dict[str, int]:
        """The tree's own statistics after the last block it answered, under its names."""
        words = self.program.words
        count = min(int(words["counter_count"]), channel.COUNTERS)
        found: dict[str, int] = {}
        names, values = words["names"][:count].copy(), words["counters"][:count].copy()
        for name, value in zip(names.tolist(), values.tolist(), strict=True):
            word = name.decode(errors="replace")
            if not _NAME.fullmatch(word) or word in found or value >> 63:
                raise self._lied(f"it has a counter {word!r} of {value}")
            found[word] = value
        return found

    def work(self) -> dict[str, int]:
        """Nothing: what of it the tree counts stands with its counters."""
        return {}

    def page_digest(self) -> str:
        """A digest of the shadow pages there are, or ``none`` once the kernel broke."""
        pages = self.page_set()
        return hashlib.sha256(repr(pages).encode()).hexdigest()[:16] if pages else "none"

    def page_set(self) -> list[list[int]]:
        """Those pages in order: gfn, role as this tree lays it out, unsync, roots, present."""
        if self.stopped:
            return []
        words = self.program.words
        words["wants_pages"] = 1
        self.program.execute(0, 0)
        words["wants_pages"] = 0
        count = int(words["page_count"])
        if count > channel.PAGES:
            return []
        return sorted([int(word) for word in page] for page in words["pages"][:count].copy())

    def state(self) -> dict[str, Any]:
        """Which build runs, and what it has counted."""
        return {"engine": "kernel", "build": self.variant.build, "counters": self.counters()}

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """A process is no array: a run of it is resumed by replaying from the beginning."""
        raise SnapshotRefused("a kernel's program cannot be stored: replay from the beginning")

    def restore(
        self, head: Mapping[str, Any], sizes: Sequence[int], words_of: Callable[[int], Any]
    ) -> None:
        """Never: nothing was packed."""
        del head, sizes, words_of
        raise SnapshotRefused("a kernel's program cannot be restored: replay from the beginning")


def _settle(share: Share, size_bytes: int) -> None:
    """Of no host: one that its own program knew would live, and the process, until a collection."""
    # A range has a length and no content: the words the program has are not ours.
    share.settle([range(size_bytes // WORD_BYTES)])


def _bytes_of(words: Any) -> bytes:
    return np.asarray(words, "<i8").tobytes()


def _clean(text: bytes) -> str:
    """A program's words, as text that is safe to show."""
    # Behind its end stands what an earlier one left there.
    told = text.partition(b"\0")[0].decode("ascii", errors="replace")
    return "".join(char if char.isprintable() else "?" for char in told)[:_TEXT_MAX]

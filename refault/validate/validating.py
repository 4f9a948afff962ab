"""Replays a trace and reads a host's log beside it: :func:`validate`."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refault.replay.session import Session
from refault.trace import TraceReader
from refault.trace.format import EventKind
from refault.trace.hostlog import bodies
from refault.trace.hostlog.events import MARKS, UNKNOWN, HostEvent, LogFacts
from refault.trace.hostlog.opening import open_log
from refault.trace.hostlog.prefixes import record_of
from refault.trace.hostlog.roles import Roles
from refault.validate.counting import COUNTS, Tally, is_counted
from refault.validate.phases import Basis, Phase, phases_of
from refault.validate.sequence import Difference, Sequence

if TYPE_CHECKING:
    from refault.catalogue import Variant

MAX_MARKS: Final = 4096
#: Of our own log, what need not be parsed: most of its lines.
_PASSED: Final = ("kvm_mmu_paging_element", "kvm_mmu_pagetable_walk", "kvm_mmu_walker_error")


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What both sides counted.

    ``marks`` are the numbers of the trace's marks, in order; ``losses`` what the trace lacks, as
    its header says.
    """

    basis: Basis
    phases: tuple[Phase, ...]
    totals: Phase
    first: Difference | None
    facts: LogFacts
    event_count: int
    operation_count: int
    marks: tuple[int, ...]
    tolerance: float
    losses: tuple[str, ...] = ()

    @property
    def parted(self) -> tuple[Phase, tuple[str, ...]] | None:
        """The first phase in which counts differ, and which."""
        for phase in self.phases:
            if names := phase.parted(self.tolerance):
                return phase, names
        return None

    @property
    def verdict(self) -> str:
        """``part``, ``incomplete`` (nothing differs, but the log has gaps) or ``agree``."""
        if self.parted is not None:
            return "part"
        return "agree" if self.facts.is_complete else "incomplete"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        parted = self.parted
        return {
            "verdict": self.verdict,
            "phases_by": self.basis,
            "tolerance_percent": self.tolerance,
            "counts": list(COUNTS),
            "totals": _counts_of(self.totals),
            "phases": [{"name": each.name, **_counts_of(each)} for each in self.phases],
            "parts_first_in": None if parted is None else parted[0].name,
            "parts_first_by": [] if parted is None else list(parted[1]),
            "first_difference": None if self.first is None else _difference(self.first),
            "host": {
                "form": self.facts.form,
                "kernel": self.facts.kernel,
                "events": self.facts.event_count,
                "is_complete": self.facts.is_complete,
                "lost": self.facts.lost_count,
                "lost_places": self.facts.lost_places,
                "unread": self.facts.unread_count,
            },
            "replay": {"events": self.event_count, "operations": self.operation_count},
            "marks": list(self.marks),
            "trace_losses": list(self.losses),
        }


def validate(
    trace: Path,
    log: Path,
    variant: Variant,
    *,
    phases: str = "auto",
    slices: int = 8,
    tolerance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Replay a trace under one variant and set its page events beside those of a host's log.

    ``progress`` is told how many bytes of the trace were read, of how many.

    Raises:
        ImportFailed: the log cannot be read, or is of a host with EPT or NPT on.
        InvalidParameter: phases that one side does not have.
        ReplayRefused: the engine writes no log of events.
        TraceError: the trace is damaged.
    """
    losses, marks = _known_of(trace)
    ours, host = Tally(), Tally()
    with open_log(log) as opened:
        sequence = Sequence(_host_events(opened.events(), opened.facts, host))
        session = _replay(trace, variant, marks, _Side(ours, sequence), progress)
        sequence.finish()
        facts = opened.facts
    basis, found = phases_of(ours, host, phases, slices)
    return Report(
        basis=basis,
        phases=tuple(found),
        totals=Phase("whole", tuple(ours.totals), tuple(host.totals)),
        first=sequence.first,
        facts=facts,
        event_count=session[0],
        operation_count=session[1],
        marks=tuple(number for _, number in marks),
        tolerance=tolerance,
        losses=losses,
    )


class _Side:
    """Our side: takes the text of the replay's log, counts, and hands on what is counted."""

    def __init__(self, tally: Tally, sequence: Sequence) -> None:
        self._tally = tally
        self._sequence = sequence
        self._boundaries: list[int] = []  # operations done at each mark
        self._roles = Roles()

    def end_phase(self, operation_count: int) -> None:
        """A mark of the trace: later operations are of the next phase."""
        self._boundaries.append(operation_count)

    def write(self, text: str) -> None:
        """Lines of our own log, whose time is the index of the operation."""
        for line in text.split("\n"):
            if any(name in line for name in _PASSED):
                continue
            found = record_of(line)
            if found is None:
                continue
            read = bodies.read(found.name, found.text, self._roles)
            fields: bodies.Fields = read[0] if read else {}
            event = HostEvent(found.time_ns, found.cpu, UNKNOWN, found.cpu, found.name, fields)
            passed = bisect_right(self._boundaries, operation_of(event))
            while self._tally.mark_count < passed:
                self._tally.mark()
            if self._tally.take(event):
                self._sequence.take(event)


def operation_of(event: HostEvent) -> int:
    """The operation of an event of our own log, whose clock ticks once an operation."""
    return event.time_ns // 1000


def _host_events(
    events: Iterator[HostEvent], facts: LogFacts, tally: Tally
) -> Iterator[tuple[HostEvent, bool]]:
    """The host's counted events, each with whether some were lost before it."""
    for event in events:
        if event.name in MARKS:
            tally.mark()
        tally.take(event)
        if is_counted(event):
            yield event, bool(facts.lost_count or facts.lost_places)


def _known_of(trace: Path) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """What a trace lacks, and index and number of each of its marks."""
    found: list[tuple[int, int]] = []
    with TraceReader(trace, allow_truncated=True) as reader:
        for block in reader.blocks():
            for at in np.flatnonzero(block.kind == EventKind.MARK).tolist():
                if len(found) < MAX_MARKS:
                    found.append((block.first_event_index + at, int(block.a[at])))
        return reader.header.losses, found


def _replay(
    trace: Path,
    variant: Variant,
    marks: list[tuple[int, int]],
    side: _Side,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int]:
    """Replay the trace, its log to ``side``; answers its events and operations."""
    with TraceReader(trace, allow_truncated=True) as reader:

        def write(text: str) -> None:
            side.write(text)
            if progress is not None:
                progress(reader.read_bytes, reader.size_bytes)

        return _advanced(reader, variant, marks, side, write)


def _advanced(
    reader: TraceReader,
    variant: Variant,
    marks: list[tuple[int, int]],
    side: _Side,
    write: Callable[[str], None],
) -> tuple[int, int]:
    with Session(reader, [variant], events=write) as session:
        for index, _ in marks:
            session.advance(to_event=index)
            side.end_phase(session.operations)
        session.advance()
        return session.events, session.operations


def _counts_of(phase: Phase) -> dict[str, dict[str, int]]:
    return {
        "ours": dict(zip(COUNTS, phase.ours, strict=True)),
        "host": dict(zip(COUNTS, phase.host, strict=True)),
    }


def _difference(found: Difference) -> dict[str, Any]:
    ours, host = found.ours, found.host
    return {
        "number": found.number,
        "ours": None
        if ours is None
        else {"operation": operation_of(ours), "name": ours.name, "fields": dict(ours.fields)},
        "host": None
        if host is None
        else {
            "time_ns": host.time_ns,
            "thread": host.thread,
            "name": host.name,
            "fields": dict(host.fields),
        },
        "is_after_loss": found.is_after_loss,
    }

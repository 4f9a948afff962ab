"""A host's log of KVM's tracepoints as a fault-only trace.

========================  ==========================================================================
kvm_page_fault            ACCESS if KVM mended it, PAGE_FAULT if the guest got one (walker_error)
kvm_mmu_paging_element    the frame of that ACCESS, where the walk ends in one
kvm_cr, kvm_msr           CR and MSR, writes only
kvm_exit INVLPG           INVLPG (Intel, whose exit says the address)
trace_marker              MARK
========================  ==========================================================================

The log is read twice: once for the header, once for the events.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from refault.errors import ImportFailed
from refault.printable import printable
from refault.trace.contents import (
    PAGE_BYTES,
    GuestMode,
    MemorySlot,
    Origin,
    TraceHeader,
    TraceSummary,
)
from refault.trace.format import MAX_GFN, MAX_GUEST_PAGES, MAX_VCPUS, EventKind, Flag
from refault.trace.hostlog.events import MARKS, UNKNOWN, HostEvent, LogFacts
from refault.trace.hostlog.opening import key_of, open_log
from refault.trace.hostlog.walks import Fault, Faults
from refault.trace.importers.ptt import trace_name
from refault.trace.importers.source import broken_rules_named
from refault.trace.writer import TraceWriter

ORIGIN: Final[Origin] = "host-events"
KEEPS: Final = (
    "page faults that reached the host, with the frame where its walk of the guest's tables ended; "
    "writes of CR0, CR3, CR4 and EFER; INVLPG where the exit says the address; marks"
)
LOSES: Final = (
    "accesses that hit the TLB or a shadow entry; stores to page tables; the content of the "
    "guest's tables, at the start and later; whose memory a frame is; what was lost in the log"
)
#: What no log of a host holds, whoever recorded it.
LOSSES: Final = (
    "Only what reached the host is here: accesses that hit the TLB or a shadow entry are missing.",
    "Stores to the guest's page tables are missing, and so is what its tables held at the start.",
    "It cannot be replayed: a model that walks tables needs their content. It is for counting.",
)
_CHUNK_ROWS: Final = 1 << 16
_EFER: Final = 0xC000_0080
_WORD: Final = 1 << 64
_MARK_NUMBER: Final = re.compile(r"\bmark[ :=]+(\d{1,9})\b", re.IGNORECASE)
_FIRST_FREE_MARK: Final = 100
_MAX_MARKS: Final = 100
_OF_VCPUS: Final = frozenset(
    {"kvm_entry", "kvm_exit", "kvm_page_fault", "kvm_mmu_pagetable_walk", "kvm_cr", "kvm_msr"}
)
Row = tuple[int, int, int, int, int, int]  # kind, vcpu, flags, aux, a, b


def import_log(
    path: Path,
    destination: Path | BinaryIO,
    *,
    ram_mib: int | None = None,
    name: str = "",
    level: int = 19,
    progress: Callable[[int], None] | None = None,
) -> TraceSummary:
    """Convert a log to a fault-only trace, in bounded memory; its header says what it lacks.

    ``ram_mib`` is the guest's memory, which no log says; without it, it ends behind the last frame
    that the log names.

    Raises:
        ImportFailed: the log is damaged, of a host with EPT or NPT on, or holds nothing that a
            trace can.
        TraceError: the trace cannot be written.
    """
    scan = _scan(path)
    header = _header(scan, name or trace_name(path), ram_mib)
    with (
        broken_rules_named(path),
        open_log(path, progress, scan.known) as log,
        TraceWriter(destination, header, level=level) as writer,
    ):
        rows: list[Row] = []
        for row in _rows(log.events(), scan):
            rows.append(row)
            if len(rows) >= _CHUNK_ROWS:
                writer.append_rows(rows)
                rows = []
        writer.append_rows(rows)
        return writer.close({"log_events": scan.facts.event_count, **scan.lost})


@dataclasses.dataclass(slots=True)
class _Scan:
    """What the first reading found."""

    facts: LogFacts
    known: dict[tuple[str, int], int] = dataclasses.field(default_factory=dict)
    nameless: list[int] = dataclasses.field(default_factory=list)
    modes: set[GuestMode] = dataclasses.field(default_factory=set)
    marks: dict[str, int] = dataclasses.field(default_factory=dict)
    max_gfn: int = 0
    vcpu_count: int = 1
    has_faults: bool = False
    has_something: bool = False

    @property
    def lost(self) -> dict[str, int]:
        """The log's gaps as numbers."""
        found = {
            "log_lost": self.facts.lost_count,
            "log_gaps": self.facts.lost_places,
            "log_unread": self.facts.unread_count,
        }
        return {key: value for key, value in found.items() if value}


def _scan(path: Path) -> _Scan:
    with open_log(path) as log:
        scan = _Scan(log.facts)
        keys: dict[tuple[str, int], None] = {}
        faults = Faults()
        for event in log.events():
            if event.name in _OF_VCPUS:
                scan.has_something = True
                key = key_of(event)
                if key is not None and len(keys) < 2 * MAX_VCPUS:
                    keys[key] = None
            scan.has_faults |= event.name == "kvm_page_fault"
            if event.name in MARKS:
                _number_mark(scan, str(event.fields.get("text", "")))
            elif (gfn := _gfn_of(event)) < MAX_GFN:
                scan.max_gfn = max(scan.max_gfn, gfn)
            faults.note_root(event)
        scan.known = log.vcpus.known
        scan.modes = faults.modes
    if not scan.has_something:
        raise ImportFailed(
            f"{path}: the log has no fault and no register write of a guest; record both systems "
            "of events: `trace-cmd record -e kvm -e kvmmmu`"
        )
    _name_threads(path, scan, keys)
    return scan


def _name_threads(path: Path, scan: _Scan, keys: dict[tuple[str, int], None]) -> None:
    """Give threads that never said which vCPU they run a number that is free."""
    taken = set(scan.known.values())
    for key in keys:
        if key in scan.known:
            continue
        free = next(number for number in range(len(taken) + 1) if number not in taken)
        scan.known[key] = free
        taken.add(free)
        scan.nameless.append(key[1])
    scan.vcpu_count = max(taken, default=0) + 1
    if scan.vcpu_count > MAX_VCPUS:
        raise ImportFailed(
            f"{path}: the log is of {scan.vcpu_count} vCPUs, a trace has at most {MAX_VCPUS}; "
            "record one guest: `trace-cmd record -e kvm -e kvmmmu -P PID -c`"
        )


def _gfn_of(event: HostEvent) -> int:
    """The highest frame of the guest that an event names; 0 if none."""
    gfn = event.fields.get("gfn", 0)
    pte = event.fields.get("pte", 0)
    if isinstance(pte, int) and pte & 1:
        return (pte & 0xF_FFFF_FFFF_F000) // PAGE_BYTES
    return gfn if isinstance(gfn, int) else 0


def _number_mark(scan: _Scan, text: str) -> None:
    if text in scan.marks or len(scan.marks) >= _MAX_MARKS:
        return
    found = _MARK_NUMBER.search(text)
    free = max(_FIRST_FREE_MARK - 1, *scan.marks.values(), 0) + 1
    scan.marks[text] = int(found[1]) if found else free


def _header(scan: _Scan, name: str, ram_mib: int | None) -> TraceHeader:
    facts = scan.facts
    page_count = (ram_mib << 20) // PAGE_BYTES if ram_mib else scan.max_gfn + 1
    modes = scan.modes or {"nonpaging"}
    return TraceHeader(
        content="capture",
        name=name,
        guest_mode=next(iter(modes)) if len(modes) == 1 else "mixed",
        vcpu_count=scan.vcpu_count,
        slots=(MemorySlot(slot=0, base_gfn=0, page_count=min(page_count, MAX_GUEST_PAGES)),),
        capture_tool=f"host log: {facts.form}",
        capture_filter={"keeps": KEEPS, "loses": LOSES},
        time_unit="none",
        workload_marks={
            str(number): printable(text[:80]) for text, number in sorted(scan.marks.items())
        },
        origin=ORIGIN,
        losses=losses_of(facts, scan.nameless),
        provenance={
            "log_form": facts.form,
            "log_events": facts.event_count,
            **({"host_kernel": facts.kernel} if facts.kernel else {}),
        },
    )


def losses_of(facts: LogFacts, nameless: list[int]) -> tuple[str, ...]:
    """What a trace of this log does not hold, one sentence each."""
    told = list(LOSSES)
    if gaps := facts.gaps():
        told.append(f"The log is not complete: {printable(gaps)}.")
    if nameless:
        threads = ", ".join(map(str, nameless[:8]))
        told.append(f"Which vCPU ran in {threads} is not in the log; they have free numbers here.")
    shared = {vcpu: threads for vcpu, threads in facts.threads_of.items() if len(threads) > 1}
    if shared:
        vcpu, threads_of = next(iter(sorted(shared.items())))
        told.append(
            f"vCPU {vcpu} ran in {len(threads_of)} threads: this may be a log of several guests, "
            "which this trace holds as one."
        )
    return tuple(told)


def _rows(events: Iterator[HostEvent], scan: _Scan) -> Iterator[Row]:
    registers: dict[tuple[int, int], int] = {}
    faults = Faults(begin_at_walks=not scan.has_faults)
    for event in events:
        vcpu = max(event.vcpu, 0)
        yield from (_fault_row(fault) for fault in faults.take(event, vcpu))
        if event.name == "kvm_cr" and event.fields.get("write"):
            number, value = (_integer(event, key) for key in ("cr", "value"))
            if number in {0, 3, 4}:
                old = registers.get((vcpu, number), 0)
                registers[vcpu, number] = value
                yield EventKind.CR, vcpu, 0, number, value, old
        elif event.name == "kvm_msr" and event.fields.get("write"):
            if _integer(event, "msr") == _EFER and not event.fields.get("exception"):
                yield EventKind.MSR, vcpu, 0, 0, _EFER, _integer(event, "value")
        elif event.name == "kvm_exit" and event.fields.get("reason") == "INVLPG":
            if address := _integer(event, "info1"):
                yield EventKind.INVLPG, vcpu, 0, 0, address, registers.get((vcpu, 3), 0)
        elif event.name in MARKS:
            number = scan.marks.get(str(event.fields.get("text", "")), UNKNOWN)
            if number != UNKNOWN:
                yield EventKind.MARK, vcpu, 0, 0, number, registers.get((vcpu, 3), 0)
    yield from (_fault_row(fault) for fault in faults.finish())


def _fault_row(fault: Fault) -> Row:
    code = fault.error_code
    flags = code >> 1 & 1 | (code >> 4 & 1) << 1 | code & 4
    if fault.is_guests:
        return EventKind.PAGE_FAULT, fault.vcpu, flags, code & 0xFF, fault.address, code
    if fault.gpa is None or fault.gpa >= MAX_GFN * PAGE_BYTES:
        return EventKind.ACCESS, fault.vcpu, flags | Flag.NOGPA, 0, fault.address, _WORD - 1
    return EventKind.ACCESS, fault.vcpu, flags, 0, fault.address, fault.gpa


def _integer(event: HostEvent, key: str) -> int:
    value = event.fields.get(key, 0)
    return value % _WORD if isinstance(value, int) else 0

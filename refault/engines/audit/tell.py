"""Findings of an audit in words: what is, what should be, what led to it, what is known of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from refault.audits import REPORTED, AuditReport, Broken, Step
from refault.engines import get_engine
from refault.engines.audit import translation as by
from refault.engines.audit import words as au
from refault.engines.audit.exceptions import exception_of, leaves_known
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.state import words as model
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.results import SHADOW
from refault.trace.format import EventKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from refault.engines.audit.host import Host
    from refault.engines.audit.outcome_host import OutcomeHost

    Audited = Host | OutcomeHost

_WORD = (1 << 64) - 1
_OF_ADDRESS = {op.LD, op.EX, op.ST, op.ST4, op.ST2, op.ST1, op.INVLPG, op.UNSHADOW, op.UNPROTECT}
_OF_GFN = {op.UNMAP, op.AGE, op.CHANGE_PTE}
_OF_VALUE = {op.SET_CR0, op.SET_CR3, op.SET_CR4, op.SET_EFER, op.NR_PAGES, op.SHRINK}
_STORES = {op.ST, op.ST4, op.ST2, op.ST1}
_GVA = {au.T1, au.T2, au.T3, au.T4, au.T5, au.T6, au.T6B, au.T7, au.U5, au.P3}
_NOWHERE = {au.S3, au.W3, au.H3, au.C1, au.P1, au.P2, au.D3}
#: By the number that findings have for them.
REGISTERS = ("CR0", "CR3", "CR4", "EFER", "PDPTE 0", "PDPTE 1", "PDPTE 2", "PDPTE 3")


@dataclasses.dataclass(slots=True)
class Group:
    """Findings of one check with one reason: the first of them, and how many places there are."""

    first: list[int]
    exception: str | None
    count: int


def groups_of(host: Audited) -> list[Group]:
    """What an audit found, by check and known exception, in the order of time.

    Places beyond those that are kept count with the latest group of their check.
    """
    state, found = host.audit.state, host.audit.found
    groups: dict[tuple[int, str | None], Group] = {}
    latest: dict[int, Group] = {}
    kept: dict[int, int] = {}
    rows = [
        [int(word) for word in found[at : at + au.FOUND_WORDS]]
        for at in range(0, int(state[au.FOUND]) * au.FOUND_WORDS, au.FOUND_WORDS)
    ]
    # The model's defects are the specification's; what it knows of a leaf explains an access.
    is_model = host.variant.engine == SHADOW
    # A sample does not follow what registers were in between.
    may_force = bool(state[au.HAS_FORCED]) or host.level.name == "sampled"
    seen = leaves_known(rows, host.variant.knobs, may_force=may_force) if is_model else {}
    for row in rows:
        check = row[au.CHECK]
        known = exception_of(row, host.variant.knobs, seen) if is_model else None
        group = groups.setdefault((check, known), Group(row, known, 0))
        group.count += 1
        latest[check] = group
        kept[check] = kept.get(check, 0) + 1
    for check, group in latest.items():
        group.count += int(state[au.COUNTS + check]) - kept[check]
    return sorted(groups.values(), key=lambda each: each.first[au.TIME])


def report_of(host: Audited, trace_digest: str, causes: Sequence[tuple[Step, ...]]) -> AuditReport:
    """The report of one host; ``causes`` of its groups, in their order."""
    state = host.audit.state
    stopped = host.notes.findings.stopped
    groups = zip(groups_of(host), causes, strict=True)
    return AuditReport(
        trace_digest=trace_digest,
        variant_digest=host.variant.digest,
        variant_name=host.variant.name,
        simulator_digest=get_engine(host.variant.engine).digest,
        engine=host.variant.engine,
        level=host.level.word,
        operation_count=host.operation_count,
        sweeps=int(state[au.SWEEPS]),
        accesses=int(state[au.ACCESSES]),
        broken=tuple(_broken(group, cause) for group, cause in groups),
        stopped=None if stopped is None else f"{stopped.kind}: {stopped.message}",
        unfinished=int(state[au.UNFINISHED]),
        reported=tuple(_reported(host)),
    )


def _reported(host: Audited) -> Iterator[str]:
    """The first of each kind that the run of a kernel found itself."""
    for kind in REPORTED:
        first = next((each for each in host.notes.findings.kept if each.kind == kind), None)
        if first is not None:
            place = f"operation {first.operation_index} (event {first.event_index})"
            yield f"{kind}, first at {place}: {first.message}"


def _broken(group: Group, cause: tuple[Step, ...]) -> Broken:
    row = group.first
    check, vcpu = row[au.CHECK], row[au.VCPU]
    kind = "" if check in _NOWHERE else "gva" if check in _GVA or vcpu >= 0 else "gfn"
    if check == au.P4:
        kind = "gpa"
    elif check in (au.U1, au.U4, au.S5):
        kind = "gfn"
    place = row[au.PLACE] >> 9 if check == au.U1 else row[au.PLACE]
    got, want = _got_and_want(row)
    return Broken(
        check=au.NAMES[check],
        event_index=row[au.ROW_EVENT],
        operation_index=row[au.TIME] - 1,
        operation=operation_text(*row[au.OP_KIND : au.OP_B + 1]),
        vcpu=None if vcpu < 0 else vcpu,
        address=place & _WORD if kind else None,
        address_kind=kind,
        got=got,
        want=want,
        count=group.count,
        cause=cause,
        exception=group.exception,
    )


# --- operations ---------------------------------------------------------------------------


def operation_text(kind: int, who: int, a: int, b: int) -> str:
    """An operation as a line of a vector reads, with its numbers in hexadecimal."""
    if kind == op.NOTE:
        return "none: a sample, or the end of the trace"
    if kind == op.TABLE_WRITE:
        return f"table write at gpa {a:#x}: {b & _WORD:#x}"
    try:
        name = EventKind(kind).name.removeprefix("OP_").lower()
    except ValueError:
        return "nothing"
    vcpu, user = who & 0xFF, who >> 8
    if kind in _OF_ADDRESS:
        mode = "" if kind == op.INVLPG else " user" if user else " kernel"
        value = f" = {b & _WORD:#x}" if kind in _STORES else ""
        return f"{name} vCPU {vcpu}{mode} {a & _WORD:#x}{value}"
    if kind == op.UNMAP_RANGE:
        return f"{name} gfn {a:#x}, {b} pages"
    if kind in _OF_GFN:
        return f"{name} gfn {a:#x}"
    if kind in _OF_VALUE:
        who_text = f" vCPU {vcpu}" if kind < op.LD else ""
        return f"{name}{who_text} {a & _WORD:#x}"
    if kind == op.POKE:
        return f"poke gpa {a:#x} = {b & _WORD:#x}"
    return f"{name} vCPU {vcpu}" if kind in {op.BOOT, op.SREGS} else name


# --- what is, and what should be ------------------------------------------------------------


def spte_text(spte: int) -> str:
    """A shadow leaf or link: its frame and what it grants."""
    if not spte & x86.PRESENT:
        return "absent"
    grants = "r" + ("w" if spte & x86.WRITABLE else "-") + ("x" if spte >= 0 else "-")
    mode = "user" if spte & x86.USER else "kernel"
    return f"{spte & x86.FRAME_MASK:#x} {grants} {mode}"


def _data_text(data: int) -> str:
    """An entry of the TLB (bit 63 is inverted there)."""
    return spte_text((data & tlb.FRAME_MASK) | (data & 7) | (0 if data < 0 else x86.NX))


def _given(gives: int) -> str:
    return f"{gives:#x}" if gives >= 0 else f"#PF {-1 - gives}"


def _outcome(code: int, address: int) -> str:
    if code in (out.PF, out.PF_DIRECT):
        return f"the guest got #PF {address}"
    if code == out.MMIO:
        return "a device's access"
    if code == out.FAIL:
        return "the fetch could not be emulated"
    return f"it reached {address:#x}"


def _excess_text(row: list[int]) -> str:
    """By what a leaf exceeds the guest's tables."""
    how = row[au.DETAIL]
    if how & by.ABSENT:
        return "the guest's tables: absent"
    if how & by.RESERVED:
        return "the guest's tables: a reserved bit is set, #PF with RSVD"
    if how & by.BEHIND_TABLE:
        return "the guest's tables: a table, no large page"
    if how & by.ELSEWHERE:
        return f"the guest's tables: {_given(row[au.SHOULD])}"
    lacks = [
        text
        for bit, text in (
            (by.WRITES, "no write"),
            (by.WRITES_CLEAN, "D clear, so no write yet"),
            (by.USER, "no user access"),
            (by.FETCHES, "no fetch"),
        )
        if how & bit
    ]
    return f"the guest's tables: {_given(row[au.SHOULD])}, {', '.join(lacks)}"


def _leaf_told(row: list[int]) -> tuple[str, str]:
    return f"the leaf maps {spte_text(row[au.IS])}", _excess_text(row)


def _tlb_told(row: list[int]) -> tuple[str, str]:
    return f"the TLB entry maps {spte_text(row[au.IS])}", _excess_text(row)


def _outcome_told(row: list[int]) -> tuple[str, str]:
    got = _outcome(row[au.DETAIL] >> 16, row[au.IS])
    return got, f"the guest's tables: {_given(row[au.SHOULD])}"


def _mapping_told(row: list[int]) -> tuple[str, str]:
    """A leaf, or an entry of a vCPU's TLB, that reaches or writes to what it may not."""
    if row[au.VCPU] >= 0:
        frame = row[au.DETAIL] if row[au.CHECK] == au.W1 else row[au.SHOULD]
        got = f"a live TLB entry maps {_data_text(row[au.IS])}; frame {frame:#x}"
        return got, "no entry, or a flush pending"
    level = "" if row[au.CHECK] in (au.W1, au.R5) else f" of level {row[au.SHOULD]}"
    got = f"a leaf{level} maps it: {spte_text(row[au.IS])}"
    if row[au.CHECK] != au.H1:
        return got, "no W"
    is_shared = row[au.OP_KIND] == op.CHANGE_PTE and not row[au.OP_B] & 1
    if is_shared or not row[au.IS] & model.HOST_WRITABLE:
        return got, "no W: the host's page is read-only"
    return got, "no leaf"


def _young_told(row: list[int]) -> tuple[str, str]:
    if row[au.VCPU] >= 0:
        got = f"a live TLB entry maps it, {_data_text(row[au.IS])}: its next use sets no A"
        return got, "no entry, or a flush pending"
    return "not young", "young: the guest used it since"


def _logged_told(row: list[int]) -> tuple[str, str]:
    """A leaf, or an entry of a TLB, that writes a frame behind the back of its dirty log."""
    frame = row[au.PLACE]
    if row[au.VCPU] >= 0:
        frame = row[au.SHOULD]
        got = f"a live TLB entry maps {_data_text(row[au.IS])}"
    else:
        got = f"a leaf of level {row[au.SHOULD]} maps {spte_text(row[au.IS])}"
    return f"{got}; frame {frame:#x} is not in its log", "no W, or the frame in its log"


def _log_told(row: list[int]) -> tuple[str, str]:
    counts = row[au.IS], row[au.SHOULD]
    held, should = (f"{count:,} page{'' if count == 1 else 's'}" for count in counts)
    if held == should:
        held = f"{held}, but others"
    return f"it answers {held}", f"{should}, which it held"


def _mark_told(row: list[int]) -> tuple[str, str]:
    if row[au.DETAIL] == au.NO_MARKS:
        gone, since = row[au.SHOULD], row[au.IS]
        return f"it went out of sync at epoch {gone}", f"after {since}, the root's last sync"
    got = f"entry {row[au.PLACE] & 511} of table {row[au.PLACE] >> 9:#x} (level {row[au.IS]})"
    got += " is not marked"
    if row[au.SHOULD]:
        got += ", though the link below it is"
    return got, f"marked, up to the root: below it table {row[au.DETAIL]:#x} is out of sync"


def _reach_told(row: list[int]) -> tuple[str, str]:
    return f"table {row[au.PLACE]:#x} is out of sync below the root", "in sync"


def _refusal_told(row: list[int]) -> tuple[str, str]:
    name = EventKind(row[au.DETAIL]).name.removeprefix("OP_").lower()
    written = f"{name} {row[au.PLACE] & _WORD:#x}"
    told = (f"{written} is refused with #GP", f"{written} is accepted")
    return told if row[au.IS] == out.GP else told[::-1]


def _register_told(row: list[int]) -> tuple[str, str]:
    name = REGISTERS[row[au.DETAIL]]
    return f"{name} is {row[au.IS] & _WORD:#x}", f"{row[au.SHOULD] & _WORD:#x}"


def _listing_told(row: list[int]) -> tuple[str, str]:
    if row[au.DETAIL] == 1:
        listed = f"listed as a leaf of level {row[au.SHOULD]}"
        return f"{listed}, but it is {spte_text(row[au.IS])}", "a present leaf of that level"
    return f"listed {row[au.IS]} times", "once"


def _numbers_told(row: list[int]) -> tuple[str, str]:
    got, want = (
        f"{value & _WORD:#x}" if abs(value) > ENTRIES_SHOWN else str(value)
        for value in (row[au.IS], row[au.SHOULD])
    )
    return got, want


#: Numbers up to this one are shown as decimals, larger ones (addresses, roles) in hexadecimal.
ENTRIES_SHOWN = 1 << 20

_TOLD = {
    **dict.fromkeys((au.T1, au.T2, au.T3, au.T4, au.U5), _leaf_told),
    **dict.fromkeys((au.H1, au.T8, au.W1, au.R5), _mapping_told),
    au.D1: lambda _: ("it was written, and the log that is read lacks it", "in the log"),
    au.D2: _logged_told,
    au.D3: _log_told,
    au.T5: _outcome_told,
    au.T6: _tlb_told,
    au.T6B: lambda row: (f"entries of level {row[au.IS]} and of level {row[au.SHOULD]}", "one"),
    au.T7: lambda _: (f"it still faults after {model.EXITS_MAX} exits", "a handful at most"),
    au.U1: _mark_told,
    au.U4: _reach_told,
    au.P1: _refusal_told,
    au.P2: _register_told,
    au.P3: lambda row: (f"it re-reads {row[au.IS]:#x}", f"{row[au.SHOULD]:#x}"),
    au.P4: lambda row: (
        f"a store of {row[au.IS]} bytes dropped the table",
        f"it stays inside one entry of {row[au.SHOULD]} bytes",
    ),
    au.H2: _young_told,
    au.S8: lambda row: (f"a link of level {row[au.DETAIL]} grants no W", "W"),
    au.R1: _listing_told,
}


def _got_and_want(row: list[int]) -> tuple[str, str]:
    return _TOLD.get(row[au.CHECK], _numbers_told)(row)

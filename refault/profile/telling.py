"""Documents from what was noted of a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from refault.attribution import OTHERS, TABLES_SHOWN, Attribution, Memory, Part, TableLife
from refault.catalogue.layouts import LAYOUTS, LONG_BYTES, sizeof
from refault.engines.account import words as ac
from refault.engines.account.host import Host as AccountHost
from refault.engines.shadow.state import words
from refault.profile.clock import INSTRUCTIONS
from refault.profile.observed import PLACE, VALUES, Observed
from refault.regions import NOWHERE, regions_of
from refault.results import COUNTERS, GAUGES, WORK
from refault.timeline import MARKS_MAX, PLACES, Mark, Timeline, interval_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.results import RunResult
    from refault.trace import TraceHeader

#: Series of the model besides its counters: nodes of its lists, and bytes of KVM's structures.
LIST_NODES, MEMORY_BYTES = "list_nodes", "memory_bytes"

#: Bytes on x86-64 of what KVM of 2010 holds: a shadow table and the frames it maps, a page each
#: (mmu.c: kvm_mmu_alloc_page); struct kvm_rmap_desc (4 pointers, 1 next) and kvm_pte_chain
#: (5 pointers, 2 of the list); a word for each guest frame (slot->rmap); for each large region
#: struct kvm_lpage_info (a word, an int, padded).
STRUCTURE_BYTES = {
    "shadow tables": 4096,
    "frames mapped (gfns)": 4096,
    "rmap descriptors": 40,
    "parent chains": 56,
    "rmap heads": 8,
    "large regions": 16,
}
HEADERS = "page headers"

#: What is split by views: everything that is counted up, but TLB hits and walks.
SPLIT = (
    *(name for name in COUNTERS if name not in GAUGES),
    "vm_exits",
    "mmio_exits",
    "insn_emulation",
    "insn_emulation_fail",
    "hypercalls",
)
_WORDS = {
    **{name: (place,) for place, name in enumerate(COUNTERS)},
    "vm_exits": (words.EXITS, words.INTERCEPTS),
    "mmio_exits": (words.MMIO_EXITS,),
    "insn_emulation": (words.INSN_EMULATION,),
    "insn_emulation_fail": (words.INSN_EMULATION_FAIL,),
    "hypercalls": (words.HYPERCALLS,),
    "tlb_hits": (ac.TLB_HITS,),
    "walks": (ac.WALKS,),
}
_HEADER_BYTES = {
    form: {abi: sizeof(fields, size) for abi, size in LONG_BYTES.items()}
    for form, fields in LAYOUTS.items()
}
_ONE_HEADER_BYTES = max(sizes["x86-64"] for sizes in _HEADER_BYTES.values())

_NO_PAGES = {
    "walk": "the architecture alone has no shadow pages and no host, so it counts nothing of them",
    "kernel": "a kernel of your own keeps its shadow pages to itself",
}
_NO_PARTS = {
    "walk": "the architecture alone leaves the guest for nothing: there is nothing to split",
    "kernel": "the program of a kernel tells its counters after a stretch of operations, and not "
    "which of them changed one",
}


# --- timeline -----------------------------------------------------------------------------


def timeline_of(observed: Observed, result: RunResult) -> Timeline:
    """The timeline of a run at its end."""
    clock = observed.clock
    total = result.instruction_count if clock.unit == INSTRUCTIONS else result.event_count
    interval = interval_of(total)
    observed.interval = observed.interval or interval
    while observed.interval < interval:
        observed.coarsen()
    end = [result.event_count, result.instruction_count, result.operation_count]
    rows = [sample[PLACE:] for sample in observed.taken]
    if rows and rows[-1][2] == end[2]:
        rows.pop()  # nothing happened after it but the trace's end
    rows.append([*end, *observed.values()[:-1]])
    header = clock.header
    missing = {}
    if result.engine in _NO_PAGES:
        missing = dict.fromkeys((LIST_NODES, MEMORY_BYTES), _NO_PAGES[result.engine])
    if not result.counters:
        missing["counters"] = _NO_PAGES["walk"]
    return Timeline(
        trace_digest=result.trace_digest,
        variant_digest=result.variant_digest,
        simulator_digest=result.simulator_digest,
        engine=result.engine,
        unit=clock.unit,
        interval=observed.interval,
        series=_series(observed, rows, (*result.counters, *result.work)),
        marks=tuple(
            Mark(number, mark_name(header, number), event, time)
            for number, event, time in observed.marks[:MARKS_MAX]
        ),
        mark_count=observed.mark_count,
        missing=missing,
    )


def _series(
    observed: Observed, rows: list[list[int]], order: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Columns by name; ``order`` is that of the result."""
    # Numbers that were not there yet were 0.
    whole = [[*row, *[0] * (len(rows[-1]) - len(row))] for row in rows]
    columns = [tuple(column) for column in zip(*whole, strict=True)]
    places, values = columns[: len(PLACES)], columns[len(PLACES) :]
    series = dict(zip(PLACES, places, strict=True))
    if not isinstance(observed.host, AccountHost):
        by_name = dict(zip(observed.names, values, strict=True))
        return series | {name: by_name[name] for name in order}
    for name in (*COUNTERS, *WORK):
        parts = [values[place] for place in _WORDS[name]]
        series[name] = parts[0] if len(parts) == 1 else tuple(map(sum, zip(*parts, strict=True)))
    series[LIST_NODES] = values[ac.NODES]
    series[MEMORY_BYTES] = tuple(
        _memory_bytes(
            observed.host, values[words.ACTIVE], values[ac.NODES], values[ac.CHAINS]
        ).tolist()
    )
    return series


def mark_name(header: TraceHeader, number: int) -> str:
    """What a trace calls a mark, or nothing."""
    if header.content == "operations":
        return header.notes[number] if 0 <= number < len(header.notes) else ""
    return header.workload_marks.get(str(number), "")


# --- memory -------------------------------------------------------------------------------


def _fixed(host: AccountHost) -> dict[str, int]:
    """What the memory slots need, however little of it is used."""
    heads = large = 0
    for slot in range(words.SLOTS_MAX):
        place = words.SLOTS + slot * words.SLOT_WORDS
        base = int(host.machine.vm[place + words.SLOT_BASE])
        pages = int(host.machine.vm[place + words.SLOT_PAGES])
        if pages:
            heads += pages
            for shift in (9, 18):
                large += ((base + pages - 1) >> shift) - (base >> shift) + 1
    return {"rmap heads": heads, "large regions": large}


def _structures(fixed: dict[str, int], active: Any, nodes: Any, chains: Any) -> dict[str, Any]:
    return {
        HEADERS: active,
        "shadow tables": active,
        "frames mapped (gfns)": active,
        "rmap descriptors": nodes - chains,
        "parent chains": chains,
        **fixed,
    }


def _memory_bytes(host: AccountHost, active: Any, nodes: Any, chains: Any) -> Any:
    """Bytes of all structures at each sample, given its pages, list nodes and those of chains."""
    columns = (np.array(column, np.int64) for column in (active, nodes, chains))
    structures: dict[str, Any] = _structures(_fixed(host), *columns)
    return sum(
        count * STRUCTURE_BYTES.get(name, _ONE_HEADER_BYTES) for name, count in structures.items()
    )


def memory_of(observed: Observed, host: AccountHost) -> Memory:
    """What KVM's structures took at most."""
    state, fixed = host.account.state, _fixed(host)
    last = observed.values()
    columns = [
        [*(sample[VALUES + place] for sample in observed.taken), last[place]]
        for place in (words.ACTIVE, ac.NODES, ac.CHAINS)
    ]
    most = int(np.argmax(_memory_bytes(host, *columns)))
    structures = _structures(fixed, *(column[most] for column in columns))
    return Memory(
        pages=int(state[ac.PAGES_MAX]),
        pages_event=int(state[ac.PAGES_MAX_EVENT]),
        unsync_pages=int(state[ac.UNSYNC_MAX]),
        list_nodes=int(state[ac.LINKS_MAX]),
        structures=structures,
        bytes={
            name: count * STRUCTURE_BYTES[name]
            for name, count in structures.items()
            if name != HEADERS
        },
        header_bytes={
            form: {abi: size * structures[HEADERS] for abi, size in sizes.items()}
            for form, sizes in _HEADER_BYTES.items()
        },
    )


# --- attribution ------------------------------------------------------------------------------


def attribution_of(observed: Observed, result: RunResult) -> Attribution:
    """The attribution of a run at its end."""
    host = observed.host
    parts: dict[str, Any] = {
        "totals": {},
        "views": {},
        "tables": (),
        "table_count": 0,
        "direct": None,
        "other_tables": None,
        "memory": None,
        "missing": {
            "views": _NO_PARTS.get(result.engine, "this engine does not tell"),
            "tables": _NO_PAGES.get(result.engine, "this engine does not tell"),
        },
    }
    if isinstance(host, AccountHost):
        totals = result.counters | result.work
        parts = {
            "totals": {name: totals[name] for name in SPLIT},
            "views": _views(host.account, observed.clock.header),
            **_tables(host.account),
            "memory": memory_of(observed, host),
            "missing": _lost(host.account),
        }
    return Attribution(
        trace_digest=result.trace_digest,
        variant_digest=result.variant_digest,
        simulator_digest=result.simulator_digest,
        engine=result.engine,
        **parts,
    )


def _lost(account: ac.Account) -> dict[str, str]:
    lost = int(account.state[ac.ROWS_LOST])
    if not lost:
        return {}
    return {"tables": f"{lost} events of shadow pages, of an operation that did not end"}


def _views(account: ac.Account, header: TraceHeader) -> dict[str, tuple[Part, ...]]:
    state = account.state
    spaces = [f"{int(key):#x}" for key in account.space_keys[: int(state[ac.SPACE_COUNT])]]
    spaces[: ac.FIRST_ROWS] = ["host, or no paging", OTHERS]
    numbers = account.mark_numbers[: int(state[ac.MARK_COUNT])]
    marks = [" ".join(f"{number} {mark_name(header, int(number))}".split()) for number in numbers]
    marks[: ac.FIRST_ROWS] = ["before the first mark", OTHERS]
    regions = [NOWHERE, *(name for _, name in regions_of(header.guest_mode))]
    return {
        "cause": _ranked(ac.CAUSES, account.causes),
        "region": _ranked(regions, account.regions),
        "address_space": _ranked(spaces, account.spaces),
        "mark": _parts(marks, account.marks),
    }


def _parts(names: Sequence[str], sums: Any) -> tuple[Part, ...]:
    """Rows that have anything, those of one name as one."""
    found: dict[str, dict[str, int]] = {}
    sums = list(map(int, sums[: len(names) * ac.COUNTED]))
    for row, name in enumerate(names):
        begin = row * ac.COUNTED
        counts = sums[begin : begin + ac.COUNTED]
        if not any(counts):
            continue
        for counter in SPLIT:
            number = sum(counts[place] for place in _WORDS[counter])
            if number:
                mine = found.setdefault(name, {})
                mine[counter] = mine.get(counter, 0) + number
    return tuple(Part(name, counters) for name, counters in found.items())


def _ranked(names: Sequence[str], sums: Any) -> tuple[Part, ...]:
    """The same, the most exits first, then the most flushes."""

    def rank(part: Part) -> tuple[int, int, str]:
        counters = part.counters
        return -counters.get("vm_exits", 0), -counters.get("hw_flush", 0), part.name

    return tuple(sorted(_parts(names, sums), key=rank))


def _tables(account: ac.Account) -> dict[str, Any]:
    count = int(account.state[ac.TABLE_COUNT])
    lives = [_life(account, row) for row in range(count)]
    direct, others, *tables = lives
    tables.sort(key=lambda table: (-table.activity, table.gfn or 0))
    return {
        "tables": tuple(tables[:TABLES_SHOWN]),
        "table_count": len(tables),
        "direct": dataclasses.replace(direct, gfn=None, level=0) if direct.activity else None,
        "other_tables": dataclasses.replace(others, gfn=None, level=0) if others.activity else None,
    }


def _life(account: ac.Account, row: int) -> TableLife:
    begin = row * ac.TABLE_WORDS
    return TableLife(*(int(word) for word in account.tables[begin : begin + ac.TABLE_WORDS]))

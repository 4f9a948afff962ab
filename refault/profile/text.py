"""A run's timeline and attribution as plain text, in at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.attribution import VIEWS, TableLife
from refault.compare import layout
from refault.results import GAUGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refault.attribution import Attribution, Memory, Part
    from refault.timeline import Timeline

WIDTH = 100
#: Counters shown unless others are asked for.
SHOWN = (
    "vm_exits",
    "pf_fixed",
    "pf_guest",
    "mmu_pte_write",
    "mmu_shadow_zapped",
    "hw_flush",
    "synced",
)
#: Numbers that hold what is there now: their curve is the most in each part, not the increase.
_STOCKS = GAUGES | {"list_nodes", "memory_bytes"}
_CURVES = (*SHOWN, "active", "mmu_unsync", "memory_bytes")
_CURVE_WIDTH = 60
_NAME_WIDTH = 18
_ROWS = 12
_MARKS_SHOWN = 8
_VIEW_TITLES = {
    "cause": "By cause",
    "region": "By region of the guest",
    "address_space": "By address space (CR3)",
    "mark": "By mark",
}
_PART_WIDTH = 30
_NUMBER_WIDTH = 10
_SHORT_NAMES = {"mmu_pte_write": "pte_write", "mmu_shadow_zapped": "zapped"}


# --- timeline ---------------------------------------------------------------------------------


def timeline_lines(timeline: Timeline) -> list[str]:
    """The curves of some series, and where the marks are."""
    unit = timeline.unit
    end = timeline.series[unit][-1]
    lines = [
        f"Over {end:,} {unit}: {timeline.sample_count} samples, {timeline.interval:,} {unit} apart"
    ]
    names = [name for name in _CURVES if name in timeline.series]
    for name in names or timeline.names[:_ROWS]:
        column = timeline.series[name]
        highest = max(column)
        told = f"most {highest:,}" if name in _STOCKS else f"{column[-1]:,}"
        lines.append(f"  {name:{_NAME_WIDTH}} {layout.bars(_curve(timeline, name))} {told:>15}")
    if timeline.marks:
        lines += _mark_lines(timeline)
    lines += [f"  no {name}: {why}" for name, why in timeline.missing.items()]
    return lines


def _curve(timeline: Timeline, name: str) -> list[int]:
    """What a series did in each of the parts that the guest's time is cut into."""
    places, column = timeline.series[timeline.unit], timeline.series[name]
    parts = [0] * _CURVE_WIDTH
    before = column[0]
    for place, value in zip(places, column, strict=True):
        part = _part(place, places[-1])
        if name in _STOCKS:
            parts[part] = max(parts[part], value)
        else:
            parts[part] += value - before
            before = value
    return parts


def _part(place: int, end: int) -> int:
    return min(_CURVE_WIDTH - 1, place * _CURVE_WIDTH // max(1, end))


def _mark_lines(timeline: Timeline) -> list[str]:
    end = timeline.series[timeline.unit][-1]
    line = [" "] * _CURVE_WIDTH
    for mark in timeline.marks:
        place = mark.instructions if timeline.unit == "instructions" else mark.events
        line[_part(place, end)] = "^"
    lines = [f"  {'marks':{_NAME_WIDTH}} {''.join(line)}".rstrip()]
    for mark in timeline.marks[:_MARKS_SHOWN]:
        name = layout.clean(mark.name)
        told = f" {name}" if name else ""
        lines.append(f"    {mark.number}{told}: at event {mark.events}"[:WIDTH])
    if timeline.mark_count > _MARKS_SHOWN:
        lines.append(f"    and {timeline.mark_count - _MARKS_SHOWN} more")
    return lines


# --- attribution --------------------------------------------------------------------------------


def attribution_lines(attribution: Attribution, shown: Sequence[str] = SHOWN) -> list[str]:
    """A table for each view, the busiest guest tables, and memory."""
    lines: list[str] = []
    for view in VIEWS:
        if view in attribution.views:
            parts = attribution.views[view]
            lines += [*_view(_VIEW_TITLES[view], parts, attribution.totals, shown), ""]
    if attribution.tables:
        lines += [*_table_lines(attribution), ""]
    if attribution.memory is not None:
        lines += [*_memory_lines(attribution.memory), ""]
    lines += [f"No {name}: {why}" for name, why in attribution.missing.items()]
    return lines[:-1] if lines and not lines[-1] else lines


def _view(
    title: str, parts: Sequence[Part], totals: Mapping[str, int], shown: Sequence[str]
) -> list[str]:
    head = [_SHORT_NAMES.get(name, name)[: _NUMBER_WIDTH - 1] for name in shown]
    lines = [_row(title, head)]
    parts = [part for part in parts if any(part.counters.get(each) for each in shown)]
    for part in parts[:_ROWS]:
        name = layout.clean(part.name)
        lines.append(_row(f"  {name}", [part.counters.get(each, 0) for each in shown]))
    if rest := parts[_ROWS:]:
        sums = [sum(part.counters.get(each, 0) for part in rest) for each in shown]
        lines.append(_row(f"  {len(rest)} more", sums))
    lines.append(_row("  in all", [totals.get(each, 0) for each in shown]))
    return lines


def _row(name: str, cells: Sequence[object]) -> str:
    words = [layout.right(str(cell), _NUMBER_WIDTH) for cell in cells]
    while layout.display_width(name) > _PART_WIDTH:
        name = f"{name[:-2]}…"
    return f"{layout.left(name, _PART_WIDTH)}{''.join(words)}"


def _table_lines(attribution: Attribution) -> list[str]:
    head = ("level", "created", "unsync", "synced", "zapped", "refault", "written")
    title = f"Busiest of {attribution.table_count} guest tables"
    lines = [_row(title, head)]
    lines += [_row(f"  gfn {table.gfn:#x}", _life(table)) for table in attribution.tables]
    others = {
        "pages of no guest table": attribution.direct,
        "tables that found no room": attribution.other_tables,
    }
    lines += [_row(f"  {name}", _life(life)) for name, life in others.items() if life is not None]
    return lines


def _life(table: TableLife) -> list[object]:
    return [
        table.level or "-",
        table.created,
        table.marked,
        table.synced,
        table.zapped,
        table.refaulted,
        table.written,
    ]


def _memory_lines(memory: Memory) -> list[str]:
    told = f"at most {memory.pages} shadow pages in use (event {memory.pages_event})"
    lines = [f"Memory: {told}, {memory.unsync_pages} out of sync"]
    headers = {sizes["x86-64"] for sizes in memory.header_bytes.values()}
    header = max(headers, default=0)
    lines.append(f"  {'structure (x86-64)':{_PART_WIDTH}}{'count':>10}{'bytes':>14}")
    for name, count in memory.structures.items():
        size = memory.bytes.get(name, header)
        lines.append(f"  {name:{_PART_WIDTH}}{count:>10}{size:>14,}")
    total = sum(memory.bytes.values()) + header
    lines.append(f"  {'in all':{_PART_WIDTH}}{'':>10}{total:>14,}")
    small = {form: sizes["i386"] for form, sizes in memory.header_bytes.items()}
    told = ", ".join(f"{form} {size:,}" for form, size in small.items())
    lines += layout.wrap(f"page headers on i386: {told}", WIDTH, first="  ", indent="  ")
    return lines

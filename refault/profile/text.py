"""A run's timeline and attribution as plain text, in 60 to 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from refault.attribution import VIEWS, TableLife
from refault.compare import layout
from refault.results import GAUGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
_NAME_WIDTH = 18
_TOLD_WIDTH = 15
_ROWS = 12
_MARKS_SHOWN = 8
_VIEW_TITLES = {
    "cause": "By cause",
    "region": "By region of the guest",
    "address_space": "By address space (CR3)",
    "mark": "By mark",
}
_PART_WIDTHS = (20, 30)  # at least, at most
_NUMBER_WIDTH = 10
_SHORT_NAMES = {"mmu_pte_write": "pte_write", "mmu_shadow_zapped": "zapped"}


# --- timeline ---------------------------------------------------------------------------------


def timeline_lines(timeline: Timeline, width: int = WIDTH) -> list[str]:
    """The curves of some series, and where the marks are."""
    unit = timeline.unit
    end = timeline.series[unit][-1]
    told = (
        f"Over {end:,} {unit}: {timeline.sample_count} samples, {timeline.interval:,} {unit} apart"
    )
    lines = layout.wrap(told, width)
    names = [name for name in _CURVES if name in timeline.series]
    part_count = min(width, WIDTH) - _NAME_WIDTH - _TOLD_WIDTH - len("  " + " " + " ")
    for name in names or timeline.names[:_ROWS]:
        column = timeline.series[name]
        highest = max(column)
        told = f"most {highest:,}" if name in _STOCKS else f"{column[-1]:,}"
        drawn = layout.bars(_curve(timeline, name, part_count))
        lines.append(f"  {name:{_NAME_WIDTH}} {drawn} {told:>{_TOLD_WIDTH}}")
    if timeline.marks:
        lines += _mark_lines(timeline, part_count, width)
    for name, why in timeline.missing.items():
        lines += layout.wrap(f"no {name}: {why}", width, first="  ", indent="    ")
    return lines


def _curve(timeline: Timeline, name: str, part_count: int) -> list[int]:
    """What a series did in each of the parts that the guest's time is cut into."""
    places, column = timeline.series[timeline.unit], timeline.series[name]
    parts = [0] * part_count
    before = column[0]
    for place, value in zip(places, column, strict=True):
        part = _part(place, places[-1], part_count)
        if name in _STOCKS:
            parts[part] = max(parts[part], value)
        else:
            parts[part] += value - before
            before = value
    return parts


def _part(place: int, end: int, part_count: int) -> int:
    return min(part_count - 1, place * part_count // max(1, end))


def _mark_lines(timeline: Timeline, part_count: int, width: int) -> list[str]:
    end = timeline.series[timeline.unit][-1]
    line = [" "] * part_count
    for mark in timeline.marks:
        place = mark.instructions if timeline.unit == "instructions" else mark.events
        line[_part(place, end, part_count)] = "^"
    lines = [f"  {'marks':{_NAME_WIDTH}} {''.join(line)}".rstrip()]
    for mark in timeline.marks[:_MARKS_SHOWN]:
        name = layout.clean(mark.name)
        told = f" {name}" if name else ""
        said = f"{mark.number}{told}: at event {mark.events}"
        lines += layout.wrap(said, width, first="    ", indent="      ")
    if timeline.mark_count > _MARKS_SHOWN:
        lines.append(f"    and {timeline.mark_count - _MARKS_SHOWN} more")
    return lines


# --- attribution --------------------------------------------------------------------------------


def attribution_lines(
    attribution: Attribution, shown: Sequence[str] = SHOWN, width: int = WIDTH
) -> list[str]:
    """A table for each view, the busiest guest tables, and memory."""
    lines: list[str] = []
    for view in VIEWS:
        if view in attribution.views:
            rows = _view(attribution.views[view], attribution.totals, shown)
            head = [_SHORT_NAMES.get(name, name)[: _NUMBER_WIDTH - 1] for name in shown]
            lines += [*_table(_VIEW_TITLES[view], head, rows, width), ""]
    if attribution.tables:
        lines += [*_table_lines(attribution, width), ""]
    if attribution.memory is not None:
        lines += [*_memory_lines(attribution.memory, width), ""]
    for name, why in attribution.missing.items():
        lines += layout.wrap(f"No {name}: {why}", width, indent="  ")
    return lines[:-1] if lines and not lines[-1] else lines


_Line: TypeAlias = "tuple[str, Sequence[int | str]]"


def _view(parts: Sequence[Part], totals: Mapping[str, int], shown: Sequence[str]) -> list[_Line]:
    parts = [part for part in parts if any(part.counters.get(each) for each in shown)]
    rows: list[_Line] = [
        (layout.clean(part.name), [part.counters.get(each, 0) for each in shown])
        for part in parts[:_ROWS]
    ]
    if rest := parts[_ROWS:]:
        sums = [sum(part.counters.get(each, 0) for part in rest) for each in shown]
        rows.append((f"{len(rest)} more", sums))
    return [*rows, ("in all", [totals.get(each, 0) for each in shown])]


def _table(title: str, head: Sequence[str], rows: Sequence[_Line], width: int) -> Iterator[str]:
    """Its lines; where the columns do not fit beside each other, in parts one below the other."""
    least, most = _PART_WIDTHS
    count = max(1, (width - least) // _NUMBER_WIDTH)
    part_width = min(most, max(least, width - _NUMBER_WIDTH * min(count, len(head))))
    for first in range(0, len(head), count):
        here = slice(first, first + count)
        yield from _row(title if not first else f"{title}, further", head[here], part_width)
        for name, cells in rows:
            told = [f"{cell:,}" if isinstance(cell, int) else cell for cell in cells[here]]
            yield from _row(f"  {name}", told, part_width)


def _row(name: str, cells: Sequence[str], part_width: int) -> Iterator[str]:
    if layout.display_width(name) > part_width:
        # Names may be told apart by their ends.
        yield name
        name = ""
    words = [layout.right(cell, _NUMBER_WIDTH) for cell in cells]
    yield f"{layout.left(name, part_width)}{''.join(words)}"


def _table_lines(attribution: Attribution, width: int) -> Iterator[str]:
    head = ("level", "created", "unsync", "synced", "zapped", "refault", "written")
    rows = [(f"gfn {table.gfn:#x}", _life(table)) for table in attribution.tables]
    others = {
        "pages of no guest table": attribution.direct,
        "tables that found no room": attribution.other_tables,
    }
    rows += [(name, _life(life)) for name, life in others.items() if life is not None]
    return _table(f"Busiest of {attribution.table_count:,} guest tables", head, rows, width)


def _life(table: TableLife) -> list[int | str]:
    return [
        table.level or "-",
        table.created,
        table.marked,
        table.synced,
        table.zapped,
        table.refaulted,
        table.written,
    ]


def _memory_lines(memory: Memory, width: int) -> list[str]:
    told = f"at most {memory.pages:,} shadow pages in use (event {memory.pages_event})"
    lines = layout.wrap(f"Memory: {told}, {memory.unsync_pages:,} out of sync", width, indent="  ")
    headers = {sizes["x86-64"] for sizes in memory.header_bytes.values()}
    header = max(headers, default=0)
    name_width = _PART_WIDTHS[1]
    lines.append(f"  {'structure (x86-64)':{name_width}}{'count':>10}{'bytes':>14}")
    for name, count in memory.structures.items():
        size = memory.bytes.get(name, header)
        lines.append(f"  {name:{name_width}}{count:>10,}{size:>14,}")
    total = sum(memory.bytes.values()) + header
    lines.append(f"  {'in all':{name_width}}{'':>10}{total:>14,}")
    small = {form: sizes["i386"] for form, sizes in memory.header_bytes.items()}
    told = ", ".join(f"{form} {size:,}" for form, size in small.items())
    lines += layout.wrap(f"page headers on i386: {told}", width, first="  ", indent="  ")
    return lines

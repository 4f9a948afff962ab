"""A view in 72 columns: what a KVM engineer reads of a host at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from refault.compare import layout
from refault.diverge.text import (
    LEGEND,
    WIDTH,
    guest_lines,
    level_block,
    operation_text,
    reverse_lines,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.diverge.shadow_walk import ReverseMap
    from refault.inspect.inspecting import View
    from refault.inspect.state import Address, Page, Processor, Summary, Table, Turn
    from refault.questions import Where

_IN = "  "
#: Marks and counters on one line.
_MARKS_SHOWN = 12
_COLUMNS = 3


class Told(NamedTuple):
    """What a view is called by: the trace, the variant's label, the command that made it.

    ``has_legend``: it ends with how to read it.
    """

    trace: str
    label: str
    command: Sequence[str]
    has_legend: bool = True


def options_of(view: View, where: Where) -> list[str]:
    """The options of ``refault inspect`` that show it: the place itself, wherever it came from."""
    options = ["--at-operation", str(view.operation_index)]
    gva = where.gva if where.gva is not None else where.until_change
    if gva is not None:
        options += ["--gva", f"{gva:#x}"]
    elif where.gfn is not None:
        options += ["--gfn", f"{where.gfn:#x}"]
    elif where.page is not None:
        options += ["--page", str(where.page)]
    if where.vcpu is not None:
        options += ["--vcpu", str(where.vcpu)]
    return options


def view_text(view: View, told: Told) -> str:
    """The whole view."""
    title = f"{told.trace} under {told.label}, before operation {view.operation_index}"
    heading = layout.wrap(title, WIDTH)
    lines = [*heading, "-" * max(map(layout.display_width, heading)), *_place(view)]
    if view.searched is not None:
        found = [f"{_IN}there is none"] if view.changed is None else _turn(view.changed)
        lines += ["", *wrapped("Looked for ", view.searched), *found]
    for processor in view.vcpus:
        lines += ["", *_processor(processor)]
    if view.summary is not None:
        lines += ["", *_summary(view.summary)]
    if view.address is not None:
        lines += ["", *_address(view.address)]
    if view.table is not None:
        lines += ["", *_table(view.table)]
    if view.page is not None:
        lines += ["", *_page(view.page)]
    if view.history:
        lines += ["", "History, oldest first"]
        lines += [line for turn in view.history for line in _turn(turn)]
    if told.has_legend and any((view.address, view.table, view.page, view.summary)):
        lines += ["", "How to read it", *_legend()]
    lines += ["", "Reproduce with:", "", *layout.shell_command(told.command, WIDTH)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def legend_text() -> str:
    """How shadow pages, entries and marks are written."""
    return "\n".join(_legend())


def _legend() -> list[str]:
    return [line for text in LEGEND[1:] for line in wrapped(_IN, text)]


def _place(view: View) -> list[str]:
    lines: list[str] = []
    if view.latest is not None:
        row = view.latest
        lines += wrapped("last: ", f"{operation_text(row)} (event {row.event})")
    if view.broke is not None:
        lines += wrapped("", f"The simulated kernel broke: {view.broke}")
    elif view.upcoming is not None:
        row = view.upcoming
        lines += wrapped("next: ", f"{operation_text(row)} (event {row.event})")
    elif view.is_truncated:
        lines += wrapped(
            "next: ", "none, the file is truncated: it ends after its last whole block"
        )
    else:
        lines += ["next: none, the trace ends here"]
    return lines


def _processor(processor: Processor) -> list[str]:
    named = "  ".join(f"{name} {value}" for name, value in processor.registers.items())
    lines = [f"vCPU {processor.vcpu}: {processor.mode}", *wrapped(_IN, named)]
    for root in processor.roots:
        lines += wrapped(_IN + "root  ", root)
    if not processor.roots:
        lines += [f"{_IN}no root loaded"]
    if processor.requests:
        lines += wrapped(_IN + "pending  ", ", ".join(processor.requests))
    if processor.last_flush is not None:
        lines += wrapped(_IN + "last flush  ", _short(processor.last_flush))
    return lines


def _short(turn: Turn) -> str:
    return f"operation {turn.operation_index} (event {turn.event_index}): {turn.operation}"


def _summary(summary: Summary) -> list[str]:
    by_level = ", ".join(
        f"{count:,} of level {level}" for level, count in summary.pages_by_level.items()
    )
    default = " (the default)" if summary.is_default_limit else ""
    lines = [f"Shadow pages: {summary.active} of at most {summary.limit}{default}"]
    lines += wrapped(_IN, by_level or "none")
    lines += [f"Out of sync: {len(summary.unsync) + summary.more_unsync}"]
    for name in summary.unsync:
        lines += wrapped(_IN, name)
    if summary.more_unsync:
        lines += [f"{_IN}and {summary.more_unsync} more"]
    cells = [f"{name} {count:,}" for name, count in summary.counters.items()]
    lines += ["Counters"]
    for at in range(0, len(cells), _COLUMNS):
        lines.append(_IN + "".join(f"{cell:23}" for cell in cells[at : at + _COLUMNS]))
    return lines


def _address(address: Address) -> list[str]:
    lines = [f"gva {address.gva}, the guest's own walk ({address.guest.mode})"]
    lines += [_IN + line for line in guest_lines(address.guest)]
    if not address.has_shadow:
        return lines
    lines += ["", "Shadow walk"]
    for entry in address.walk:
        lines += [line for text in level_block(entry) for line in wrapped(_IN, text)]
    ends = "no root" if not address.walk else f"ends {address.walk[-1].kind}"
    lines += [f"{_IN}{ends if address.reaches is None else f'maps gpa {address.reaches}'}"]
    if address.reverse_map is not None:
        lines += ["", "Reverse map"]
        lines += [
            line for text in reverse_lines(address.reverse_map) for line in wrapped(_IN, text)
        ]
    if address.pages:
        lines += ["", "Pages of the walk"]
        lines += [line for page in address.pages for line in _page(page)]
    return lines


def _leaves(found: ReverseMap) -> list[str]:
    return [line for text in reverse_lines(found) for line in wrapped(_IN, text)]


def _table(table: Table) -> list[str]:
    lines = [f"gfn {table.gfn}: pages that shadow it"]
    lines += [line for page in table.pages for line in _page(page)] or [f"{_IN}none"]
    lines += ["", "Leaves that map it"]
    if table.reverse_map is not None:
        lines += _leaves(table.reverse_map)
    return lines


def _page(page: Page) -> list[str]:
    free = ", not in use; it was" if page.is_free else ":"
    lines = wrapped(_IN, f"page {page.number}{free} {page.name}")
    entries = "1 entry" if page.present == 1 else f"{page.present} entries"
    children = f"{entries}, {page.unsync_children} out of sync below"
    if page.marks:
        shown = ", ".join(map(str, page.marks[:_MARKS_SHOWN]))
        more = len(page.marks) - _MARKS_SHOWN
        children += f", marks {shown}" + (f" and {more} more" if more > 0 else "")
    lines += wrapped(_IN * 2, children)
    for parent in page.parents:
        lines += wrapped(_IN * 2 + "parent ", parent)
    if page.more_parents:
        lines += [f"{_IN * 2}and {page.more_parents} more parents"]
    for child in page.below:
        lines += wrapped(_IN * 2 + "below ", child)
    if page.more_below:
        lines += [f"{_IN * 2}and {page.more_below} more below"]
    return lines


def _turn(turn: Turn) -> list[str]:
    lines = layout.wrap(_short(turn), WIDTH, first=_IN, indent=_IN * 3)
    for text in turn.changed:
        lines += layout.wrap(text, WIDTH, first=_IN * 2, indent=_IN * 3)
    return lines

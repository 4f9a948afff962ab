"""A report in 72 columns: what a KVM engineer reads of a divergence.

What only one side has, or has otherwise, is marked by a star and the letter of the side.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from refault.compare import layout
from refault.diverge import account_text, reasons
from refault.diverge.measures import has_address
from refault.diverge.regions import kind_name
from refault.engines.shadow import eventlog
from refault.questions import OUTCOME, PAGES
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.findings import lost_and_written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.diverge.around import Mmu, Moment, OtherPage
    from refault.diverge.diverging import Answer, Divergence, Origin, Report
    from refault.diverge.guest_walk import GuestWalk
    from refault.diverge.marking import Marking
    from refault.diverge.position import Row
    from refault.diverge.shadow_walk import ReverseMap, ShadowEntry

    # Lines that are shown together.
    Block = tuple[str, ...]

WIDTH = 72
_WORD = (1 << 64) - 1
_FLAGS = (
    (x86.PRESENT, "P"),
    (x86.WRITABLE, "W"),
    (x86.USER, "U"),
    (x86.ACCESSED, "A"),
    (x86.DIRTY, "D"),
    (x86.LARGE, "PS"),
    (x86.NX, "NX"),
)
_CODE_BITS = eventlog._CODE_BITS  # noqa: SLF001 - its public name would be another digest
_ANSWERS = {
    out.NONE: "nothing to tell",
    out.MMIO: "reaches a device",
    out.FAIL: "cannot be fetched",
    out.GP: "#GP",
    out.LIVELOCK: "faults again and again",
    out.TRIPLE: "shuts the guest down",
}
#: The notation of pages and entries, for who never saw it; all of it is KVM's own.
LEGEND = tuple(
    """\
*A, *B: what only that side has, or has otherwise. st, ld, ex: a store, a load, a fetch of an \
instruction; st4, st2, st1: a store of so many bytes, else of eight.
sp gfn 107 1/4 q0 wux pge nxe root 0 unsync: the shadow page of guest table 0x107, of level 1 in \
tables of 4 levels (level 1 holds the leaves, the root is on top), quadrant 0, for writes, user \
and execute, made under CR4.PGE and EFER.NX, root of 0 vCPUs, out of sync (the guest may write \
that table without a trap). direct: of no table, but of one large page.
[288] link, leaf: its entry 288 leads to another shadow page, or maps memory. P present, W \
writable, U user, A accessed, D dirty, PS large, NX no execute.
marked: the entry is noted as leading to something out of sync. A sync at a flush of the guest \
begins at the root and follows only entries that are marked.""".splitlines()
)
_STORES = {op.ST, op.ST4, op.ST2, op.ST1}
_SAME, _SIDES = "     ", ("  *A ", "  *B ")


class Told(NamedTuple):
    """What a report is called by: the trace, the labels of the two variants, the command."""

    trace: str
    labels: tuple[str, str]
    command: Sequence[str]


def report_text(report: Report, told: Told) -> str:
    """The whole report."""
    title = f"{told.trace}: {told.labels[0]} (A) against {told.labels[1]} (B), on {report.on}"
    heading = layout.wrap(title, WIDTH)
    lines = [*heading, "-" * max(map(layout.display_width, heading))]
    lines += _only(report)
    if report.is_truncated:
        lines += layout.wrap("The file is truncated: compared up to its last whole block.", WIDTH)
    if not report.divergences:
        lines += _alike(report)
    if report.account is not None and report.divergences:
        lines += account_text.account_lines(report.account)
    for place, divergence in enumerate(report.divergences):
        lines += ["", *_divergence(divergence, place, report.on, told)]
    if report.wants_next and len(report.divergences) == 1:
        none = "No later difference that is not a consequence of this one."
        broke = "Where a kernel broke there is nothing to compare any more."
        lines += ["", broke if report.divergences[0].is_end else none]
    if report.divergences:
        lines += _legend(report)
    lines += ["", "Reproduce with:", "", *layout.shell_command(told.command, WIDTH)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _only(report: Report) -> list[str]:
    """The patches that only one of the two has."""
    lines: list[str] = []
    for side, other, patches in (("A", "B", report.only[0]), ("B", "A", report.only[1])):
        if not patches:
            continue
        lines += [f"{side} has these patches, which {other} has not:"]
        for name, title in patches[: reasons.PATCHES_SHOWN]:
            lines += layout.wrap(f"{name}: {title}", WIDTH, first="  ", indent="    ")
        if len(patches) > reasons.PATCHES_SHOWN:
            lines += [f"  and {len(patches) - reasons.PATCHES_SHOWN} more"]
    return lines


def _why(told: Sequence[str]) -> list[str]:
    """The reasons, a paragraph each."""
    if not told:
        return []
    lines = ["", "Why"]
    for text in told:
        lines += layout.wrap(text, WIDTH, first="  - ", indent="    ")
    return lines


def _legend(report: Report) -> list[str]:
    """What the notation says, where it is used."""
    sides = [
        side
        for divergence in report.divergences
        for moment in (divergence.before, divergence.after)
        for side in (moment.first, moment.second)
    ]
    if not any(side.walk or side.reverse_maps for side in sides):
        return []
    return ["", "How to read it", *(line for text in LEGEND for line in wrapped("  ", text))]


def _alike(report: Report) -> list[str]:
    """No difference, and the digests that say so."""
    count = 0 if report.operations is None else report.operations[0]
    lines = layout.wrap(f"No difference in {count:,} operations.", WIDTH)
    if report.on == OUTCOME:
        named, digests = "outcomes", report.outcome_digests
    elif report.on == PAGES:
        named, digests = "pages", report.page_digests
    else:
        total = "" if report.account is None else report.account.first
        return [*lines, f"  {report.on} is {total} under both"]
    if digests is None:
        return lines
    for side, digest in zip("AB", digests, strict=True):
        lines += [f"  {named} {side}", f"    {digest}"]
    if digests[0] != digests[1]:
        # Of two engines only what the guest sees is compared; roles of two bases have other bits.
        note = "The digests also cover what is not compared: role bits, what a dirty log holds "
        note += "beyond what was written, or answers to the host of two engines."
        lines += layout.wrap(note, WIDTH)
    return lines


# --- one operation ------------------------------------------------------------------------------


def _divergence(divergence: Divergence, place: int, on: str, told: Told) -> list[str]:
    row, first, second = divergence.operation, divergence.first, divergence.second
    index = str(first.operation_index)
    if first.operation_index != second.operation_index:
        index += f" of A, {second.operation_index} of B"
    head = "They differ first" if not place else "The next difference of its own is"
    what = f"{head} at operation {index} (event {row.event}): {operation_text(row)}"
    lines = layout.wrap(what, WIDTH, indent="  ")
    width = max(map(layout.display_width, told.labels))
    is_silent = first.code == second.code == out.NONE and first.broke is second.broke is None
    for label, side, answer in zip(told.labels, "AB", (first, second), strict=True):
        if is_silent and divergence.counts is not None:
            break
        start = f"  {side} {layout.left(label, width)}  "
        lines += layout.wrap(answer_text(row, answer), WIDTH, first=start, indent="      ")
    if divergence.counts is not None:
        lines += [f"  {on} is then A {divergence.counts[0]:,}, B {divergence.counts[1]:,}"]
    lines += _why(divergence.reasons)
    lines += _origin(divergence.origin)
    lines += _guest(divergence.before)
    lines += _state("before it", divergence.before, None)
    return lines + _state("after it", divergence.after, divergence.before)


def operation_text(row: Row) -> str:
    """An operation in words: ``ld, vCPU 0, user, 0x400000``."""
    name, a, b = kind_name(row.kind), row.a & _WORD, row.b & _WORD
    if row.kind in {op.TABLE_WRITE, op.POKE}:
        return f"{name}, gpa {a:#x} = {b:#x}"
    if row.kind == op.UNMAP_RANGE:
        return f"{name}, gfn {a:#x}, {b} pages"
    if row.kind in {op.UNMAP, op.AGE, op.CHANGE_PTE}:
        return f"{name}, gfn {a:#x}"
    if op.names_a_vcpu(row.kind) or row.kind in {op.UNSHADOW, op.UNPROTECT}:
        told = [name, f"vCPU {row.vcpu}"]
        if has_address(row.kind) and row.kind != op.INVLPG:
            told.append("user" if row.user else "kernel")
        if row.kind not in {op.BOOT, op.SREGS}:
            told.append(f"{a:#x}" + (f" = {b:#x}" if row.kind in _STORES else ""))
        return ", ".join(told)
    return f"{name}, {a}" if row.kind in {op.NR_PAGES, op.SHRINK} else name


def answer_text(row: Row, answer: Answer) -> str:
    """How it came out, in words."""
    if answer.broke is not None:
        return f"the kernel broke: {answer.broke}"
    emulated = ", emulated" if answer.is_emulated else ""
    if answer.code == out.OK:
        reads = f", reads {answer.value}" if row.kind == op.LD else ""
        return f"reaches {answer.address}{reads}{emulated}"
    if answer.code in (out.PF, out.PF_DIRECT):
        code = int(answer.address)
        letters = "|".join(letter for bit, letter in _CODE_BITS if code & bit)
        return f"#PF {code:#x} {letters}".rstrip() + emulated
    if answer.code == out.RETURN:
        told = f"answers {int(answer.address)}"
        return _log_text(told, answer) if row.kind == op.GET_DIRTY_LOG else told
    return _ANSWERS.get(answer.code, f"outcome {answer.code}") + emulated


def _log_text(told: str, answer: Answer) -> str:
    """A dirty log that was read, held against what was written where the engine does that."""
    pages = "dirty page" if int(answer.address) == 1 else "dirty pages"
    if answer.walked is None:
        # The number stands for which frames they are: equal ones are the same frames.
        return f"{told} {pages} (content {int(answer.value)})"
    lost, written = lost_and_written(int(answer.walked))
    lacks = f"it lacks {lost}" if lost else "it has all"
    return f"{told} {pages}; {lacks} of the {written} written since it was last read"


# --- the guest's tables -------------------------------------------------------------------------


def _guest(moment: Moment) -> list[str]:
    """The guest's own walk; that of B beside it only where it differs."""
    walks = [each.guest for each in (moment.first, moment.second) if each.guest is not None]
    if not walks:
        return []
    lines = ["", f"The guest's own walk before it ({walks[0].mode}, CR3 {walks[0].cr3})"]
    both = [guest_lines(walk) for walk in walks]
    if len(both) == 1:
        return lines + [_SAME + line for line in both[0]]
    return lines + _side_by_side(*([(line,) for line in each] for each in both))


def guest_lines(walk: GuestWalk) -> list[str]:
    """A walk of the guest's tables, a line each level, and how it ends."""
    lines = [
        f"level {entry.level}  at {entry.gpa!s:12} {entry.value!s:18} {flags(entry.value)}"
        for entry in walk.entries
    ]
    return [*lines, walk.ends]


def flags(entry: int) -> str:
    """The bits of an entry by their letters: ``P W U A - -  -``."""
    if not entry & x86.PRESENT:
        return "absent"
    return " ".join(name if entry & bit else "-" for bit, name in _FLAGS)


# --- the MMU's state ----------------------------------------------------------------------------


def _state(when: str, moment: Moment, old: Moment | None) -> list[str]:
    """Both MMUs at one moment; sections that are as they were before are left out."""
    sides = (moment.first, moment.second)
    olds = None if old is None else (old.first, old.second)
    lines: list[str] = []
    for title, of in (
        ("Shadow walk", _walk_blocks),
        ("Reverse maps", _reverse_blocks),
        ("Requests pending", _request_blocks),
    ):
        told = [of(side) if side.is_kept else None for side in sides]
        if any(told) and (
            olds is None or told != [of(each) if each.is_kept else None for each in olds]
        ):
            lines += ["", f"{title} {when}", *_side_by_side(*told)]
    counts = [side.counters for side in sides]
    other = [name for name in counts[0] if counts[0][name] != counts[1].get(name, counts[0][name])]
    if other and old is None:
        lines += ["", f"Flushes and syncs that differ {when}"]
        lines += _side_by_side(
            *([(f"{name:16} {count[name]:,}",) for name in other] for count in counts)
        )
    if moment.pages and (old is None or moment.pages != old.pages):
        lines += ["", f"Pages that differ {when}", *_pages(moment.pages, moment.more_pages)]
    return lines


def _side_by_side(first: Sequence[Block] | None, second: Sequence[Block] | None) -> list[str]:
    """Blocks that both have once; those that differ twice, with the letter of their side.

    A side that is None has no such state, and is not held against the other.
    """
    lines: list[str] = []
    if first is None or second is None:
        start = f"   {'A' if second is None else 'B'} "
        return [line for block in first or second or () for line in _two(block, start)]
    for mine, yours in itertools.zip_longest(first, second, fillvalue=()):
        if mine == yours:
            lines += [line for text in mine for line in wrapped(_SAME, text)]
        else:
            lines += _two(mine or (("none",) if not first else ()), _SIDES[0])
            lines += _two(yours or (("none",) if not second else ()), _SIDES[1])
    return lines


def _two(block: Block, start: str) -> list[str]:
    return [line for text in block for line in wrapped(start, text)]


def wrapped(start: str, text: str) -> list[str]:
    """The text, with its inner blanks, in as many lines as it takes."""
    if len(start + text) <= WIDTH:
        return [start + text]
    inner = " " * (len(text) - len(text.lstrip()))
    return layout.wrap(text, WIDTH, first=start + inner, indent=" " * len(start) + inner + "  ")


def _walk_blocks(mmu: Mmu) -> list[Block]:
    return [level_block(entry) for entry in mmu.walk]


def level_block(entry: ShadowEntry) -> Block:
    """One level of a shadow walk: the page, and its entry."""
    told = f"[{entry.index}] {entry.kind}"
    if entry.kind == "leaf":
        told += f" {entry.entry} {flags(entry.entry)}"
    elif entry.kind == "link":
        told += f" {flags(entry.entry)}"
    if entry.unsync_children:
        told += f"; {entry.unsync_children} out of sync below"
        told += ", marked here" if entry.marked else ", not marked here"
    elif entry.marked:
        told += "; marked here"
    return f"level {entry.level}  {entry.page}", f"         {told}"


def _reverse_blocks(mmu: Mmu) -> list[Block]:
    return [(line,) for each in mmu.reverse_maps for line in reverse_lines(each)]


def reverse_lines(each: ReverseMap) -> list[str]:
    """The leaves of a frame, a line each."""
    if not each.leaves:
        return [f"frame {each.gfn}: no leaf"]
    lines = [f"frame {each.gfn}: {leaf.page} [{leaf.index}]" for leaf in each.leaves]
    return lines + ([f"frame {each.gfn}: {each.more} more"] if each.more else [])


def _request_blocks(mmu: Mmu) -> list[Block]:
    return [(text,) for text in mmu.requests]


def _pages(pages: Sequence[OtherPage], more: int) -> list[str]:
    lines: list[str] = []
    for page in pages:
        for start, text in zip(_SIDES, (page.first, page.second), strict=True):
            lines += wrapped(start, "none" if text is None else text)
    return lines + ([f"{_SAME}and {more} more"] if more else [])


def _origin(origin: Origin | None) -> list[str]:
    """Since when the pages of this walk differ."""
    if origin is None:
        return []
    what = f"operation {origin.operation_index} (event {origin.operation.event}): "
    lines = layout.wrap(f"The pages of this walk differ since {what}", WIDTH)
    lines += wrapped("     ", operation_text(origin.operation))
    return ["", *lines, *_pages(origin.pages, 0), *_marking(origin.marking)]


def _marking(marking: Marking | None) -> list[str]:
    """How that operation marked the links above the page that went out of sync."""
    if marking is None:
        return []
    lines = ["", *wrapped("", f"In that operation {marking.page} goes out of sync;")]
    lines += ["the marks of the links above it, from below"]
    for link in marking.links:
        same = link.first == link.second
        lines += wrapped(_SAME, f"level {link.level}  {link.page} [{link.index}]")
        for start, mark in zip(_SIDES, (link.first, link.second), strict=True):
            told = "no such link" if mark is None else mark.words
            if same:
                lines += [f"{_SAME}         {told}"]
                break
            lines += [f"{start}         {told}"]
    return lines

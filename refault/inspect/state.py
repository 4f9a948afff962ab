"""A host at one moment, as data: its vCPUs, an address, a table, or a summary of all pages."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from refault.diverge.guest_walk import MODES, GuestWalk, Word, guest_walk, levels_of
from refault.diverge.shadow_pages import Notation, notation_of
from refault.diverge.shadow_walk import (
    REQUESTS,
    ReverseMap,
    ShadowEntry,
    chained,
    is_marked,
    leaf_gpa,
    level_of,
    page_name,
    reverse_map,
    walk_by_page,
)
from refault.engines.shadow.state import words
from refault.engines.walk import words as arch
from refault.errors import InvalidParameter
from refault.replay import x86
from refault.results import SHADOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refault.engines.base import Host

#: Entries that link to a page which are listed; the rest are counted.
PARENTS_SHOWN = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One operation of a history, in words, and what it changed."""

    operation_index: int
    event_index: int
    operation: str
    changed: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Processor:
    """A vCPU: its registers, and what KVM's MMU has for it; no root where there is no shadow.

    ``last_flush`` is the operation that flushed its TLB last, None if it was not among the latest.
    """

    vcpu: int
    mode: str
    registers: dict[str, Word]
    roots: tuple[str, ...]
    requests: tuple[str, ...]
    last_flush: Turn | None


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """An address: both walks, where they lead, and the pages of the shadow walk."""

    gva: Word
    vcpu: int
    guest: GuestWalk
    has_shadow: bool
    walk: tuple[ShadowEntry, ...]
    reaches: Word | None
    reverse_map: ReverseMap | None
    pages: tuple[Page, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A shadow page: what it is, who links to it, what it links to.

    ``number`` is its place among all, used again for another table once it is zapped; ``is_free``
    says that it is not in use. ``parents`` name the entries that link to it, ``more_parents``
    counts those not listed. ``present`` counts its entries that map or link something; ``marks``
    are the entries below which something is out of sync. ``below`` names the pages it links to that
    are out of sync or have something out of sync below them, each with its entry and whether that
    is marked; ``more_below`` counts those not listed.
    """

    number: int
    is_free: bool
    name: str
    level: int
    gfn: Word
    unsync: bool
    unsync_children: int
    root_count: int
    parents: tuple[str, ...]
    more_parents: int
    present: int
    marks: tuple[int, ...]
    below: tuple[str, ...] = ()
    more_below: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A guest frame: the pages that shadow it as a table, and the leaves that map it."""

    gfn: Word
    pages: tuple[Page, ...]
    reverse_map: ReverseMap | None


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """All shadow pages, counted; ``limit`` is what KVM may use of them."""

    pages_by_level: dict[str, int]
    active: int
    unsync: tuple[str, ...]
    more_unsync: int
    limit: int
    is_default_limit: bool
    counters: dict[str, int]


#: Pages out of sync that a summary lists.
UNSYNC_SHOWN = 8


def is_shadow(host: Host) -> bool:
    """Whether there are shadow pages to look at."""
    return host.variant.engine == SHADOW


def notation(host: Host) -> Notation:
    """How pages of this host are named."""
    return notation_of([host.variant])


def vcpu_count(host: Host) -> int:
    """The vCPUs there are by now."""
    m = host.machine  # type: ignore[attr-defined]
    return int(m.vm[words.VCPU_COUNT] if is_shadow(host) else m.state[arch.VCPU_COUNT])


def processor(host: Host, vcpu: int, last_flush: Turn | None) -> Processor:
    """One vCPU now."""
    m = host.machine  # type: ignore[attr-defined]
    levels = levels_of(host, vcpu)
    mode = MODES.get(levels, f"{levels} levels")
    if is_shadow(host):
        cpu, state, pdptes = words.CPUS + vcpu * words.CPU_WORDS, m.vm, words.PDPTRS
    else:
        cpu, state, pdptes = arch.CPUS + vcpu * arch.CPU_WORDS, m.state, arch.PDPTES
    named = [Word(int(word)) for word in state[cpu : cpu + 4]]
    registers = dict(zip(("CR0", "CR3", "CR4", "EFER"), named, strict=True))
    if levels == x86.PAE_LEVELS:
        registers |= {f"PDPTE {i}": Word(int(state[cpu + pdptes + i])) for i in range(4)}
    if not is_shadow(host):
        return Processor(vcpu, mode, registers, (), (), None)
    root = int(state[cpu + words.ROOT])
    handles = [root]
    if root == words.PAE_LOADED:
        handles = [int(word) for word in state[cpu + words.PAE_ROOTS : cpu + words.PAE_ROOTS + 4]]
    roots = tuple(page_name(host, sp, notation(host)) for sp in handles if sp > 0)
    pending = int(state[cpu + words.REQUESTS])
    asked = tuple(text for bit, text in REQUESTS if pending & bit)
    return Processor(vcpu, mode, registers, roots, asked, last_flush)


def address(host: Host, vcpu: int, gva: int) -> Address:
    """Both walks of an address now."""
    guest = guest_walk(host, vcpu, gva)
    if not is_shadow(host):
        return Address(Word(gva), vcpu, guest, False, (), None, None, ())  # noqa: FBT003
    walked = walk_by_page(host, vcpu, gva, notation(host))
    walk = tuple(entry for _, entry in walked)
    reaches = leaf_gpa(walk, gva)
    frame = None if reaches is None else reverse_map(host, reaches >> 12, notation(host))
    pages = tuple(_page(host, sp) for sp, _ in walked)
    told = None if reaches is None else Word(reaches)
    return Address(Word(gva), vcpu, guest, True, walk, told, frame, pages)  # noqa: FBT003


def table(host: Host, gfn: int) -> Table:
    """The pages and leaves of a guest frame now."""
    pages = tuple(_page(host, sp) for sp in handles_of(host, gfn))
    return Table(Word(gfn), pages, reverse_map(host, gfn, notation(host)))


def summary(host: Host) -> Summary | None:
    """What there is; None without shadow pages."""
    if not is_shadow(host):
        return None
    m = host.machine  # type: ignore[attr-defined]
    every = list(_active(host))
    levels = collections.Counter(level_of(host, sp) for sp in every)
    unsync = [sp for sp in every if m.page[sp + words.UNSYNC]]
    names = tuple(page_name(host, sp, notation(host)) for sp in unsync[:UNSYNC_SHOWN])
    asked = int(m.vm[words.LIMIT_REQUESTED])
    return Summary(
        {str(level): levels[level] for level in sorted(levels)},
        len(every),
        names,
        len(unsync) - len(names),
        asked or int(m.vm[words.DEFAULT_LIMIT]),
        not asked,
        host.counters(),
    )


def handles_of(host: Host, gfn: int) -> list[int]:
    """The pages that shadow that frame."""
    page = host.machine.page  # type: ignore[attr-defined]
    return [sp for sp in _active(host) if page[sp + words.GFN] == gfn]


def _active(host: Host) -> Iterator[int]:
    """The pages in use, newest first."""
    m = host.machine  # type: ignore[attr-defined]
    sp = int(m.vm[words.LIST_HEAD])
    # Where the kernel broke, the list may be broken too.
    for _ in range(len(m.page) // words.PAGE_WORDS):
        if sp <= 0:
            return
        yield sp
        sp = int(m.page[sp + words.LIST_NEXT])


def page_numbered(host: Host, number: int) -> Page:
    """The shadow page of that number, in use or not.

    Raises:
        InvalidParameter: there is no such page yet.
    """
    count = len(host.machine.page) // words.PAGE_WORDS  # type: ignore[attr-defined]
    if not 0 < number < count:
        raise InvalidParameter(f"--page {number}: the pages are 1 to {count - 1}")
    return _page(host, number * words.PAGE_WORDS)


def _page(host: Host, sp: int) -> Page:
    m = host.machine  # type: ignore[attr-defined]
    header = [int(word) for word in m.page[sp : sp + words.PAGE_WORDS]]
    parents = list(chained(m, header[words.PARENTS], words.CHAIN_ENTRIES))
    names = (
        f"{page_name(host, sptep >> 10 << 5, notation(host))} [{sptep & (x86.ENTRIES - 1)}]"
        for sptep in parents[:PARENTS_SHOWN]
    )
    absent = (int(m.vm[words.TRAP]), int(m.vm[words.NOTRAP]))
    entries = m.spt[sp << 5 : (sp << 5) + x86.ENTRIES]
    below = [] if header[words.FREED] else _below(host, sp, entries, absent)
    return Page(
        number=sp // words.PAGE_WORDS,
        is_free=bool(header[words.FREED]),
        name=page_name(host, sp, notation(host)),
        level=level_of(host, sp),
        gfn=Word(header[words.GFN]),
        unsync=bool(header[words.UNSYNC]),
        unsync_children=header[words.UNSYNC_CHILDREN],
        root_count=header[words.ROOT_COUNT],
        parents=tuple(names),
        more_parents=max(0, len(parents) - PARENTS_SHOWN),
        present=sum(int(entry) not in absent for entry in entries),
        marks=tuple(i for i in range(x86.ENTRIES) if is_marked(header, i)),
        below=tuple(below[:PARENTS_SHOWN]),
        more_below=max(0, len(below) - PARENTS_SHOWN),
    )


def _below(host: Host, sp: int, entries: Any, absent: tuple[int, int]) -> list[str]:
    """The pages a page links to that a sync has to reach, with the marks that lead to them."""
    if level_of(host, sp) == 1:
        return []
    page = host.machine.page  # type: ignore[attr-defined]
    header = [int(word) for word in page[sp : sp + words.PAGE_WORDS]]
    told = []
    for index, entry in enumerate(entries):
        if int(entry) in absent or int(entry) & x86.LARGE:
            continue
        child = (int(entry) & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        if not 0 < child < len(page):
            continue
        inside = int(page[child + words.UNSYNC_CHILDREN])
        if page[child + words.UNSYNC] or inside:
            has = f", {inside} out of sync below" if inside else ""
            mark = "marked" if is_marked(header, index) else "NOT marked"
            told.append(f"[{index}] {page_name(host, child, notation(host))}{has}; {mark} here")
    return told

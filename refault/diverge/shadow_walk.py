"""The shadow side of an address, from the model's arrays: walk, marks, reverse map, requests."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from refault.diverge.guest_walk import Word
from refault.diverge.shadow_pages import Notation, page_text
from refault.engines.shadow.state import words
from refault.replay import x86

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from refault.engines.base import Host

PLACE_MASK = x86.ENTRIES - 1
#: Leaves of one frame that are listed; the rest are counted.
LEAVES_SHOWN = 8
REQUESTS = (
    (words.REQ_TLB_FLUSH, "flush the TLB"),
    (words.REQ_MMU_RELOAD, "reload the roots"),
    (words.REQ_TRIPLE_FAULT, "triple fault"),
    (words.REQ_MMU_SYNC, "sync the roots"),
    (words.REQ_GUEST_FLUSH, "sync and flush for the guest"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class ShadowEntry:
    """One level of a shadow walk: the page, and its entry for the address.

    ``marked``: the page's bitmap says that below this entry something is out of sync.
    """

    level: int
    page: str
    gfn: Word
    unsync: bool
    unsync_children: int
    index: int
    entry: Word
    kind: str
    marked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf in a reverse map."""

    page: str
    index: int
    entry: Word


@dataclasses.dataclass(frozen=True, slots=True)
class ReverseMap:
    """Who maps a frame: its leaves, and how many are not listed here."""

    gfn: Word
    leaves: tuple[Leaf, ...]
    more: int


def shadow_walk(host: Host, vcpu: int, gva: int, notation: Notation) -> tuple[ShadowEntry, ...]:
    """The entries a processor would use for ``gva``, from the root down; none without a root."""
    return tuple(entry for _, entry in walk_by_page(host, vcpu, gva, notation))


def walk_by_page(
    host: Host, vcpu: int, gva: int, notation: Notation
) -> list[tuple[int, ShadowEntry]]:
    """The same walk, each entry with the handle of its page."""
    m = host.machine  # type: ignore[attr-defined]
    cpu = words.CPUS + vcpu * words.CPU_WORDS
    sp = int(m.vm[cpu + words.ROOT])
    if sp == words.PAE_LOADED:
        sp = int(m.vm[cpu + words.PAE_ROOTS + (gva >> 30 & 3)])
    walked: list[tuple[int, ShadowEntry]] = []
    while sp > 0 and len(walked) < x86.LONG_LEVELS:
        found = _entry(host, sp, gva, notation)
        walked.append((sp, found))
        if found.kind != "link":
            break
        sp = (found.entry & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    return walked


def _entry(host: Host, sp: int, gva: int, notation: Notation) -> ShadowEntry:
    m = host.machine  # type: ignore[attr-defined]
    level = level_of(host, sp)
    index = gva >> (3 + 9 * level) & PLACE_MASK
    spte = int(m.spt[(sp << 5) + index])
    kind = "link"
    if spte in (int(m.vm[words.TRAP]), int(m.vm[words.NOTRAP])):
        kind = "absent"
    elif level == 1 or spte & x86.LARGE:
        kind = "leaf"
    header = [int(word) for word in m.page[sp : sp + words.PAGE_WORDS]]
    return ShadowEntry(
        level=level,
        page=page_name(host, sp, notation),
        gfn=Word(header[words.GFN]),
        unsync=bool(header[words.UNSYNC]),
        unsync_children=header[words.UNSYNC_CHILDREN],
        index=index,
        entry=Word(spte),
        kind=kind,
        marked=is_marked(header, index),
    )


def is_marked(header: Sequence[int], index: int) -> bool:
    """Whether the bitmap of a page with that header says: something is out of sync below."""
    return bool(header[words.BITMAP + (index >> 5)] >> (index & 31) & 1)


def level_of(host: Host, sp: int) -> int:
    """The level of the page with that handle."""
    role = int(host.machine.page[sp + words.ROLE])  # type: ignore[attr-defined]
    return (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT


def page_name(host: Host, sp: int, notation: Notation) -> str:
    """The page with that handle, as the event log names it."""
    page = host.machine.page  # type: ignore[attr-defined]
    gfn, role, roots, unsync = (
        int(page[sp + at]) for at in (words.GFN, words.ROLE, words.ROOT_COUNT, words.UNSYNC)
    )
    return page_text(gfn, role, roots, unsync, notation)


def leaf_gpa(walk: tuple[ShadowEntry, ...], gva: int) -> int | None:
    """The guest-physical address that a shadow walk reaches, or None."""
    if not walk or walk[-1].kind != "leaf":
        return None
    inside = (1 << (3 + 9 * walk[-1].level)) - 1
    return (walk[-1].entry & x86.FRAME_MASK & ~inside) | (gva & inside)


def reverse_map(host: Host, gfn: int, notation: Notation) -> ReverseMap | None:
    """The 4 KiB leaves that map a frame, as its reverse map lists them; None outside memory."""
    m = host.machine  # type: ignore[attr-defined]
    for at in range(words.SLOTS, words.CPUS, words.SLOT_WORDS):
        base, pages = int(m.vm[at + words.SLOT_BASE]), int(m.vm[at + words.SLOT_PAGES])
        if m.vm[at + words.SLOT_USED] and base <= gfn < base + pages:
            place = int(m.vm[at + words.SLOT_FRAMES]) + (gfn - base) * words.FRAME_WORDS
            leaves = list(chained(m, int(m.frame[place + words.RMAP]), words.RMAP_EXT))
            shown = tuple(_leaf(host, sptep, notation) for sptep in leaves[:LEAVES_SHOWN])
            return ReverseMap(Word(gfn), shown, len(leaves) - len(shown))
    return None


def chained(m: Any, first: int, per_node: int) -> Iterator[int]:
    """The entries of a reverse map, or of a page's back references: one, or a chain of nodes."""
    if first > 0:
        yield first
    node, left = -first, len(m.link) // words.LINK_WORDS
    while node > 0 and left:
        left -= 1
        yield from (int(m.link[node + i]) for i in range(per_node) if m.link[node + i])
        node = int(m.link[node + words.LINK_NEXT])


def _leaf(host: Host, sptep: int, notation: Notation) -> Leaf:
    spt = host.machine.spt  # type: ignore[attr-defined]
    return Leaf(
        page_name(host, sptep >> 10 << 5, notation), sptep & PLACE_MASK, Word(int(spt[sptep]))
    )


def requests(host: Host) -> tuple[str, ...]:
    """What each vCPU has been asked to do before it enters the guest, and has not done yet."""
    vm = host.machine.vm  # type: ignore[attr-defined]
    told = []
    for vcpu in range(int(vm[words.VCPU_COUNT])):
        pending = int(vm[words.CPUS + vcpu * words.CPU_WORDS + words.REQUESTS])
        told += [f"vCPU {vcpu}: {text}" for bit, text in REQUESTS if pending & bit]
    return tuple(told)

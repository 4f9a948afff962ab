"""Both MMU states around one operation, as data: what a report shows and ``--json`` prints."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from refault.diverge import shadow_walk
from refault.diverge.guest_walk import GuestWalk, Word, guest_walk, keeps_guest
from refault.diverge.measures import has_address
from refault.diverge.position import Row
from refault.diverge.regions import kind_name
from refault.diverge.shadow_pages import Notation, notation_of, page_rows, page_text, pages_of
from refault.replay import operations as op
from refault.results import SHADOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from refault.diverge.shadow_walk import ReverseMap, ShadowEntry
    from refault.engines.base import Host

#: Pages that only one host has which are listed; the rest are counted.
PAGES_SHOWN = 10
#: Frames whose reverse maps are shown.
FRAMES_SHOWN = 4
FLUSHES = ("tlb_flush", "hw_flush", "remote_tlb_flush", "flush_calls", "reload_calls", "synced")
_OF_FRAME = {op.UNMAP, op.AGE, op.CHANGE_PTE, op.UNMAP_RANGE}
_OF_GPA = {op.TABLE_WRITE, op.POKE, op.UNSHADOW}


@dataclasses.dataclass(frozen=True, slots=True)
class Mmu:
    """One host's side of the address at one moment.

    ``is_kept``: it is a shadow MMU whose state can be read; otherwise what cannot is empty.
    """

    is_kept: bool
    guest: GuestWalk | None
    walk: tuple[ShadowEntry, ...]
    reaches: Word | None
    reverse_maps: tuple[ReverseMap, ...]
    requests: tuple[str, ...]
    counters: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class OtherPage:
    """A page in use in one host only, or with other marks: what it is in each, or None."""

    gfn: Word
    first: str | None
    second: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Both hosts at one moment, and the pages by which they differ: some, and how many more."""

    first: Mmu
    second: Mmu
    pages: tuple[OtherPage, ...]
    more_pages: int


def moment(hosts: Sequence[Host], row: Row, also: Sequence[int] = ()) -> Moment:
    """Both states as they are now, seen from the operation ``row``; ``also`` are frames to show."""
    frames = list(also)
    if row.kind in _OF_FRAME:
        frames.append(row.a)
    elif row.kind in _OF_GPA:
        frames.append(row.a >> 12)
    gva = row.a if has_address(row.kind) else None
    vcpu = row.vcpu
    if gva is not None:
        frames += [gpa >> 12 for host in hosts for gpa in _reached(host, vcpu, gva)]
    notation = _notation(hosts)
    shown_frames = sorted(set(frames))[:FRAMES_SHOWN]
    first, second = (_mmu(host, vcpu, gva, shown_frames, notation) for host in hosts)
    near = {entry.gfn for mmu in (first, second) for entry in mmu.walk} | set(frames)
    pages = other_pages(hosts)
    pages.sort(key=lambda page: (page.gfn not in near, page.gfn))
    shown = pages[:PAGES_SHOWN]
    return Moment(first, second, tuple(shown), len(pages) - len(shown))


def _reached(host: Host, vcpu: int, gva: int) -> list[int]:
    """Where the shadow and the guest's tables lead."""
    found: list[int | None] = []
    if host.variant.engine == SHADOW:
        walk = shadow_walk.shadow_walk(host, vcpu, gva, _notation([host]))
        found.append(shadow_walk.leaf_gpa(walk, gva))
    if keeps_guest(host):
        found.append(guest_walk(host, vcpu, gva).gpa)
    return [int(gpa) for gpa in found if gpa is not None]


def _notation(hosts: Sequence[Host]) -> Notation:
    return notation_of([host.variant for host in hosts if host.variant.engine == SHADOW])


def _mmu(host: Host, vcpu: int, gva: int | None, frames: Sequence[int], notation: Notation) -> Mmu:
    guest = guest_walk(host, vcpu, gva) if gva is not None and keeps_guest(host) else None
    if host.variant.engine != SHADOW:
        return Mmu(False, guest, (), None, (), (), _flushes(host))  # noqa: FBT003
    walk = shadow_walk.shadow_walk(host, vcpu, gva, notation) if gva is not None else ()
    reaches = shadow_walk.leaf_gpa(walk, gva or 0)
    maps = [shadow_walk.reverse_map(host, gfn, notation) for gfn in frames]
    return Mmu(
        True,  # noqa: FBT003
        guest,
        walk,
        None if reaches is None else Word(reaches),
        tuple(each for each in maps if each is not None),
        shadow_walk.requests(host),
        _flushes(host),
    )


def _flushes(host: Host) -> dict[str, int]:
    counters = host.counters()
    return {name: counters[name] for name in FLUSHES if name in counters}


def other_pages(hosts: Sequence[Host]) -> list[OtherPage]:
    """The pages by which two hosts of one engine differ; between two engines, none."""
    variants = [host.variant for host in hosts]
    if len({variant.engine for variant in variants}) > 1:
        return []
    if variants[0].engine == SHADOW:
        rows = [page_rows(pages_of(host), variants).tolist() for host in hosts]
        notation = notation_of(variants)
        return _other(rows, lambda page: _told(page, notation))
    return _other([host.page_set() for host in hosts], _told_by_kernel)


def _other(
    rows: Sequence[list[list[int]]], tell: Callable[[Sequence[int]], str]
) -> list[OtherPage]:
    """What only one side has, by frame and role; ``tell`` names a page."""
    counted = [collections.Counter(map(tuple, side)) for side in rows]
    only = [counted[0] - counted[1], counted[1] - counted[0]]
    by_page: dict[tuple[int, int], list[list[Any]]] = {}
    for side, pages in enumerate(only):
        for page in sorted(pages.elements()):
            by_page.setdefault((page[0], page[1]), [[], []])[side].append(page)
    found = []
    for (gfn, _), (mine, yours) in by_page.items():
        for place in range(max(len(mine), len(yours))):
            told = [tell(side[place]) if place < len(side) else None for side in (mine, yours)]
            found.append(OtherPage(Word(gfn), told[0], told[1]))
    return found


def _told(page: Sequence[int], notation: Notation) -> str:
    gfn, role, unsync, children, roots = page
    text = page_text(gfn, role, roots, unsync, notation)
    return f"{text}, {children} marked" if children else text


def _told_by_kernel(page: Sequence[int]) -> str:
    """A page as a kernel's program lists it; its role is a number of that tree's."""
    gfn, role, unsync, roots, present = page
    state = "unsync" if unsync else "sync"
    return f"sp gfn {gfn:x} role {role:#x} root {roots} {state}, {present} present"


def other_gfns(hosts: Sequence[Host]) -> set[int]:
    """The frames whose pages differ."""
    return {int(page.gfn) for page in other_pages(hosts)}


def plain(value: Any) -> Any:
    """A value as JSON has it: words in hexadecimal, records as objects."""
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, Row):
        return _plain_row(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        "kind": kind_name(row.kind),
        "event": row.event,
        "vcpu": row.vcpu,
        "user": bool(row.user),
        "aux": row.aux,
        "a": str(Word(row.a)),
        "b": str(Word(row.b)),
        "witness": op.WITNESS_CLASSES[row.cls] if row.cls < len(op.WITNESS_CLASSES) else None,
        "want": str(Word(row.want)),
    }

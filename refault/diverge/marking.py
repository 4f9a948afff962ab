"""How one operation marks the parents of a page that goes out of sync, link by link.

KVM lets a guest write a last-level table without a trap: the page that shadows it is then *out of
sync*, and every link on the way from a root down to it is *marked*, so that the next flush of the
guest can follow the marks and bring it in sync.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.diverge.guest_walk import Word
from refault.diverge.shadow_pages import Notation, role_text
from refault.diverge.shadow_walk import chained, is_marked, level_of
from refault.engines.shadow.state import words
from refault.replay import x86

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.engines.base import Host

#: Links above one page that are told.
LINKS_SHOWN = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Marked:
    """One link above the page that went out of sync, in one host: its mark before and after."""

    before: bool
    after: bool

    @property
    def words(self) -> str:
        """What the operation did to the mark."""
        if self.after:
            return "was marked before" if self.before else "marked now"
        return "unmarked now" if self.before else "not marked"


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """Entry ``index`` of a page, above the page that went out of sync; None where there is none."""

    level: int
    gfn: Word
    page: str
    index: int
    first: Marked | None
    second: Marked | None


@dataclasses.dataclass(frozen=True, slots=True)
class Marking:
    """The table of the page that went out of sync in both hosts, and all links above it.

    The links are in the order of their levels, from the page upwards.
    """

    gfn: Word
    page: str
    links: tuple[Link, ...]

    @property
    def lost(self) -> tuple[str, Link, Link | None] | None:
        """The side that left a link unmarked, that link, and the marked one it stopped at."""
        for side, mine, yours in (("A", "first", "second"), ("B", "second", "first")):
            for link in self.links:
                here, there = getattr(link, mine), getattr(link, yours)
                if here is None or there is None or here.after or not there.after:
                    continue
                below = [
                    each
                    for each in self.links
                    if each.level < link.level and (mark := getattr(each, mine)) and mark.before
                ]
                return side, link, below[-1] if below else None
        return None


class _Key(NamedTuple):
    """A link, by what both hosts know of it."""

    level: int
    gfn: int
    role: str
    place: int


def headers(hosts: Sequence[Host]) -> list[Any]:
    """The headers of the pages as they are now, to be held against later ones."""
    return [np.array(host.machine.page, np.int64) for host in hosts]  # type: ignore[attr-defined]


def marking_of(hosts: Sequence[Host], before: Sequence[Any], notation: Notation) -> Marking | None:
    """What changed since ``before``; None where no page went out of sync in both hosts."""
    gone = [
        {_named(host, sp, notation): sp for sp in _went(host, old)}
        for host, old in zip(hosts, before, strict=True)
    ]
    shared = [each for each in gone[0] if each in gone[1]]
    for page in shared:
        found = [
            dict(_links(host, old, pages[page], notation))
            for host, old, pages in zip(hosts, before, gone, strict=True)
        ]
        keys = sorted(found[0].keys() | found[1].keys())[:LINKS_SHOWN]
        links = tuple(
            Link(
                key.level,
                Word(key.gfn),
                _text(key.gfn, key.role),
                key.place,
                found[0].get(key),
                found[1].get(key),
            )
            for key in keys
        )
        if links:
            return Marking(Word(page[0]), _text(*page), links)
    return None


def _went(host: Host, old: Any) -> list[int]:
    """The pages that are out of sync now, and were not."""
    page = np.asarray(host.machine.page, np.int64)  # type: ignore[attr-defined]
    now = page[words.UNSYNC :: words.PAGE_WORDS]
    was = np.zeros_like(now)
    was[: len(old) // words.PAGE_WORDS] = old[words.UNSYNC :: words.PAGE_WORDS]
    free = page[words.FREED :: words.PAGE_WORDS]
    return [
        int(each) * words.PAGE_WORDS
        for each in np.flatnonzero((now != 0) & (was == 0) & (free == 0))
    ]


def _named(host: Host, sp: int, notation: Notation) -> tuple[int, str]:
    page = host.machine.page  # type: ignore[attr-defined]
    return int(page[sp + words.GFN]), role_text(int(page[sp + words.ROLE]), notation)


def _text(gfn: int, role: str) -> str:
    return f"sp gfn {gfn:x} {role}"


def _links(host: Host, old: Any, sp: int, notation: Notation) -> list[tuple[_Key, Marked]]:
    """Every link above a page, once, with its mark in the headers of before and of now."""
    m = host.machine  # type: ignore[attr-defined]
    found: list[tuple[_Key, Marked]] = []
    waiting, seen = [sp], {sp}
    while waiting and len(found) < LINKS_SHOWN:
        here = waiting.pop(0)
        for sptep in chained(m, int(m.page[here + words.PARENTS]), words.CHAIN_ENTRIES):
            parent, index = sptep >> 10 << 5, sptep & (x86.ENTRIES - 1)
            key = _Key(level_of(host, parent), *_named(host, parent, notation), index)
            found.append((key, Marked(_bit(old, parent, index), _bit(m.page, parent, index))))
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return found


def _bit(page: Any, sp: int, index: int) -> bool:
    """The mark of an entry; there is none of a page that was not there yet."""
    return sp < len(page) and is_marked(page[sp : sp + words.PAGE_WORDS], index)

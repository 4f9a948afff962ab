"""The checks of a host's snapshot before a kernel may run on it.

Kernels follow handles from one flat array into another without checking bounds. These checks
ensure that every size is one that a host can have, and that every word that refers to another
(list links, hash chains, parents, reverse maps, guest memory, roots) stays inside its array.
They do not prove that the lists are those of the run: that is what the seal is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.engines.shadow.state import fields, words
from refault.engines.shadow.state.fields import Kind
from refault.engines.shadow.state.machine import (
    KNOB_PLACES,
    MEMORY_WORDS_MAX,
    PAGES_MAX,
    SLOT_FRAMES_MAX,
    Machine,
    bitmap_words,
    large_region_count,
)
from refault.replay import x86
from refault.replay.snapshot_checks import counts, in_range, need, typed
from refault.trace.format import MAX_GFN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINK_WORDS_MAX = 1 << 27
_PAGES_AT_A_TIME = 1 << 10


def head(found: Mapping[str, Any]) -> None:
    """Check a host's numbers in the head."""
    checked = typed(found, {"body_count": int, "limit_is_due": bool})
    counts([checked["body_count"]], 1)


def machine_sizes(sizes: Sequence[int]) -> None:
    """Check, before memory is allocated, that a host's arrays can have these lengths."""
    counts(sizes, len(Machine._fields))
    vm, page, spt, link, frame, mem, tlb = sizes
    fits = (
        vm == words.VM_WORDS
        and words.PAGE_WORDS <= page <= PAGES_MAX * words.PAGE_WORDS
        and page % words.PAGE_WORDS == 0
        and spt * words.PAGE_WORDS == page * words.SPT_WORDS
        and words.LINK_WORDS <= link <= _LINK_WORDS_MAX
        and link % words.LINK_WORDS == 0
        and words.FRAME_WORDS <= frame <= words.FRAME_WORDS * (SLOT_FRAMES_MAX + 1)
        and x86.ENTRIES <= mem <= MEMORY_WORDS_MAX
        and (tlb == 1 or 0 < tlb <= words.CPUS_MAX * words.TLB_WORDS)
    )
    need(fits, f"a host with arrays of {list(sizes)} words")


def machine(m: Machine, knobs: Mapping[str, int]) -> None:
    """Check the words of a host that lead from one array into another."""
    vm = m.vm
    need(all(vm[KNOB_PLACES[knob]] == int(value) for knob, value in knobs.items()), "other knobs")
    vcpus = int(vm[words.VCPU_COUNT])
    need(0 <= vcpus <= words.CPUS_MAX and vm[words.CURRENT_CPU] < vcpus, "other vCPUs")
    tlb_words = vcpus * words.TLB_WORDS if vm[words.TLB] else 1
    need(vm[words.TLB] in (0, 1) and len(m.tlb) == tlb_words, "TLBs of other vCPUs")
    need(not vm[words.ABORTED], "it is of a replay that was aborted")
    need(vm[words.EVENT_END] == vm[words.EVENT_NEXT] == 0, "an event log was kept")
    need(x86.ENTRIES <= vm[words.MEM_NEXT] <= len(m.mem), "guest memory ends outside its array")
    need(0 <= vm[words.QUEUE_COUNT] < words.QUEUE_MAX, "more stores are queued than there is room")
    limits = (
        (vm[words.PAGE_FREE_COUNT], len(m.page) // words.PAGE_WORDS),
        (vm[words.ACTIVE], len(m.page) // words.PAGE_WORDS),
        (vm[words.LINK_FREE_COUNT], len(m.link) // words.LINK_WORDS),
    )
    need(all(0 <= count <= most for count, most in limits), "more is free than there is")
    _pages(m)
    _slots(m)
    cpus = vm[words.CPUS :].reshape(words.CPUS_MAX, words.CPU_WORDS)
    _handles(cpus[:, fields.places(fields.VCPU, Kind.PAGE)], m, "a root")
    roots = cpus[:, fields.places(fields.VCPU, Kind.ROOT)]
    _handles(np.where(roots == words.PAE_LOADED, 0, roots), m, "a root")
    sptes = cpus[:, fields.places(fields.VCPU, Kind.SPTEP)]
    in_range(sptes, 0, len(m.spt), "the entry updated last")


def _pages(m: Machine) -> None:
    vm, link_end, spt_end = m.vm, len(m.link), len(m.spt)
    _handles(vm[fields.places(fields.HOST, Kind.PAGE)], m, "the head of a list")
    in_range(vm[fields.places(fields.HOST, Kind.LINK)], 0, link_end, "the head of a list")
    in_range(m.link, 0, max(link_end, spt_end), "a reference")
    in_range(m.link[words.LINK_NEXT :: words.LINK_WORDS], 0, link_end, "a reference")
    need(not np.any(m.link[words.LINK_NEXT :: words.LINK_WORDS] % words.LINK_WORDS), "a reference")
    headers = m.page.reshape(-1, words.PAGE_WORDS)
    for place in fields.places(fields.PAGE, Kind.PAGE):
        _handles(headers[:, place], m, "a page's neighbour")
    parents = headers[:, fields.places(fields.PAGE, Kind.PARENTS)]
    in_range(parents, 1 - link_end, spt_end, "a page's parents")
    for first in range(0, len(headers), _PAGES_AT_A_TIME):
        some = headers[first : first + _PAGES_AT_A_TIME]
        tables = m.spt.reshape(-1, words.SPT_WORDS)[first : first + len(some), : x86.ENTRIES]
        _handles(_linked(some, tables, m), m, "a page's child")


def _linked(headers: Any, tables: Any, m: Machine) -> Any:
    """The handles in the entries of some pages above the last level."""
    level = (headers[:, words.ROLE] & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
    entries = tables[(level > 1) & (headers[:, words.FREED] == 0)]
    is_link = (entries & x86.PRESENT != 0) & (entries & x86.LARGE == 0)
    is_link &= (entries != m.vm[words.TRAP]) & (entries != m.vm[words.NOTRAP])
    return (entries[is_link] & x86.FRAME_MASK) >> x86.PAGE_SHIFT


def _slots(m: Machine) -> None:
    need(0 <= m.vm[words.SLOT_COUNT] <= words.SLOTS_MAX, "more memory slots than a host has")
    slots = m.vm[words.SLOTS : words.SLOTS + words.SLOTS_MAX * words.SLOT_WORDS]
    for slot in slots.reshape(-1, words.SLOT_WORDS).tolist():
        base, pages = slot[words.SLOT_BASE], slot[words.SLOT_PAGES]
        if not pages:
            need(not any(slot), "a memory slot without pages")
            continue
        places = [slot[p] for p in (words.SLOT_FRAMES, words.SLOT_LARGE2, words.SLOT_LARGE3)]
        need(base >= 0 and pages > 0 and base + pages <= MAX_GFN, "a memory slot outside memory")
        lengths = [pages, *(large_region_count(base, pages, level) for level in (2, 3))]
        at = places[0]
        for place, length in zip(places, lengths, strict=True):
            need(place == at >= 0, "a memory slot's records are not where they must be")
            at += length * words.FRAME_WORDS
        at += bitmap_words(pages)
        need(at <= len(m.frame), "a memory slot's records are not where they must be")
        frames = m.frame[places[0] : places[1]].reshape(-1, words.FRAME_WORDS)
        in_range(frames[:, words.RMAP], 1 - len(m.link), len(m.spt), "a reverse map")
        end = int(m.vm[words.MEM_NEXT]) - x86.ENTRIES + 1
        in_range(frames[:, words.MEMORY], 0, end, "a frame's content")


def _handles(handles: Any, m: Machine, what: str) -> None:
    in_range(handles, 0, len(m.page), what)
    need(not np.any(handles % words.PAGE_WORDS), f"{what} is no page")

"""What a snapshot must keep to before a kernel may run on it.

Kernels follow handles from one flat array into another without looking at bounds. These checks
say that every size is one a host can have, and that every word of the kinds that lead somewhere
(list links, hash chains, parents, reverse maps, guest memory, roots) stays inside its array.
They do not prove that the lists are those of the run: that is what the seal is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.errors import SnapshotRefused
from refault.mmu import layout as x86
from refault.mmu import model
from refault.mmu import replay as loop
from refault.mmu.findings import KEPT
from refault.mmu.machine import (
    KNOB_PLACES,
    MEMORY_WORDS_MAX,
    PAGES_MAX,
    SLOT_FRAMES_MAX,
    Machine,
    large_region_count,
)
from refault.mmu.model import Lowering
from refault.trace.format import MAX_GFN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LINK_WORDS_MAX = 1 << 27
_COUNT_MAX = 1 << 62
_TALLY_WORDS = loop.SHIFT - loop.TALLY
_PAGES_AT_A_TIME = 1 << 10
#: Header words of a shadow page that hold a page handle.
_HANDLES = (
    x86.HASH_NEXT,
    x86.HASH_PREV,
    x86.LIST_NEXT,
    x86.LIST_PREV,
    x86.OOS_NEXT,
    x86.OOS_PREV,
)
#: What a head holds, and of what type; and the same for each host.
_HEAD = {"simulator": str, "events": int, "trace_so_far": str, "lowering": list, "hosts": list}
_HOST = {
    "variant": str,
    "sizes": list,
    "operation_count": int,
    "body_count": int,
    "limit_is_due": bool,
    "tally": list,
    "findings": list,
    "finding_count": int,
    "stopped": (dict, type(None)),
    "outcomes": list,
}


def need(condition: bool, what: str) -> None:  # an assertion with its reason
    """Raise SnapshotRefused, saying ``what`` is wrong, unless the condition holds."""
    if not condition:
        raise SnapshotRefused(f"the snapshot cannot be used: {what}")


def head(found: object, simulator: str, variants: Sequence[str]) -> dict[str, Any]:
    """The head, if it has every field and is of this simulator and these variants, in order."""
    checked = _fields(found, _HEAD)
    need(checked["simulator"] == simulator, "another simulator wrote it")
    _counts([checked["events"]], 1)
    _counts(checked["lowering"], len(Lowering._fields))
    hosts = [_fields(entry, _HOST) for entry in checked["hosts"]]
    need([entry["variant"] for entry in hosts] == list(variants), "it is of other variants")
    for entry in hosts:
        _counts(entry["sizes"], len(Machine._fields))
        _counts(entry["tally"], _TALLY_WORDS)
        _counts([entry[name] for name in ("operation_count", "body_count", "finding_count")], 3)
        kept = len(entry["findings"])
        need(kept <= min(KEPT + 1, entry["finding_count"]), f"it keeps {kept} findings")
        types = [type(part) for part in entry["outcomes"]]
        need(types == [bytes, bytes, int], "a digest of outcomes is none")
    return checked


def _fields(found: object, types: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != types.keys():
        raise SnapshotRefused("the snapshot cannot be used: its head lacks fields, or has others")
    for name, kind in types.items():
        wrong = not isinstance(found[name], kind) or (kind is int and isinstance(found[name], bool))
        need(not wrong, f"{name} is {type(found[name]).__name__}")
    return found


def _counts(found: Sequence[object], length: int) -> None:
    need(len(found) == length, f"{len(found)} numbers stand where {length} must")
    need(all(type(n) is int and 0 <= n < _COUNT_MAX for n in found), "a count is none")


def lowering_sizes(sizes: Sequence[int], fresh: Lowering) -> None:
    """Before memory is taken: all arrays but ``memory`` are as long as the trace makes them."""
    *fixed, memory = sizes
    need(fixed == [len(words) for words in fresh[:-1]], "its memory slots are not the trace's")
    fits = len(fresh.memory) <= memory <= 2 * MEMORY_WORDS_MAX and memory % x86.ENTRIES == 0
    need(fits, f"guest memory of {memory} words")


def lowering(found: Lowering, fresh: Lowering, vcpu_count: int) -> None:
    """The state of the rules that make rows."""
    state = found.state
    fixed = [
        model.FRAME_COUNT,
        model.SLOT_COUNT,
        *range(model.SLOT_TABLE, model.SLOT_TABLE + model.SLOT_TABLE_WORDS * x86.SLOTS_MAX),
    ]
    need(all(state[i] == fresh.state[i] for i in fixed), "its memory slots are not the trace's")
    end = int(state[model.MEMORY_NEXT])
    need(x86.ENTRIES <= end <= len(found.memory), "its guest memory ends outside")
    _in_range(found.pages, 0, end - x86.ENTRIES + 1, "a frame's content")
    need(not np.any(found.pages % x86.ENTRIES), "a frame's content begins inside another")
    for place in (model.HELD_VCPU, model.SNAP_VCPU):
        need(0 <= state[place] < max(1, vcpu_count), "it names a vCPU the trace lacks")
    need(state[model.HELD_SIZE] in (0, 1, 2, 4, 8), "it holds a store of no size")
    reachable = np.asarray([state[model.HELD_GPA] >> x86.PAGE_SHIFT, state[model.SNAP_GFN]])
    for i, in_use in enumerate((state[model.HELD], state[model.SNAP_LEFT])):
        need(not in_use or _in_slots(int(reachable[i]), state), "it is amid a table of no memory")


def _in_slots(gfn: int, state: Any) -> bool:
    for i in range(int(state[model.SLOT_COUNT])):
        base, pages = state[model.SLOT_TABLE + i * model.SLOT_TABLE_WORDS :][:2]
        if base <= gfn < base + pages:
            return True
    return False


def machine_sizes(sizes: Sequence[int]) -> None:
    """Before memory is taken: lengths a host's arrays can have."""
    vm, page, spt, link, frame, mem, tlb = sizes
    fits = (
        vm == x86.VM_WORDS
        and x86.PAGE_WORDS <= page <= PAGES_MAX * x86.PAGE_WORDS
        and page % x86.PAGE_WORDS == 0
        and spt * x86.PAGE_WORDS == page * x86.SPT_WORDS
        and x86.LINK_WORDS <= link <= _LINK_WORDS_MAX
        and link % x86.LINK_WORDS == 0
        and x86.FRAME_WORDS <= frame <= x86.FRAME_WORDS * (SLOT_FRAMES_MAX + 1)
        and x86.ENTRIES <= mem <= MEMORY_WORDS_MAX
        and (tlb == 1 or 0 < tlb <= x86.CPUS_MAX * x86.TLB_WORDS)
    )
    need(fits, f"a host with arrays of {list(sizes)} words")


def machine(m: Machine, knobs: Mapping[str, int]) -> None:
    """A host's words, as far as they lead from one array into another."""
    vm = m.vm
    need(all(vm[KNOB_PLACES[knob]] == int(value) for knob, value in knobs.items()), "other knobs")
    vcpus = int(vm[x86.VCPU_COUNT])
    need(0 <= vcpus <= x86.CPUS_MAX and vm[x86.CURRENT_CPU] < vcpus, "other vCPUs")
    words = vcpus * x86.TLB_WORDS if vm[x86.TLB] else 1
    need(vm[x86.TLB] in (0, 1) and len(m.tlb) == words, "TLBs of other vCPUs")
    need(not vm[x86.ABORTED], "it is of a replay that was broken off")
    need(vm[x86.EVENT_END] == vm[x86.EVENT_NEXT] == 0, "an event log was kept")
    need(x86.ENTRIES <= vm[x86.MEM_NEXT] <= len(m.mem), "guest memory ends outside")
    counts = (
        (vm[x86.PAGE_FREE_COUNT], len(m.page) // x86.PAGE_WORDS),
        (vm[x86.ACTIVE], len(m.page) // x86.PAGE_WORDS),
        (vm[x86.LINK_FREE_COUNT], len(m.link) // x86.LINK_WORDS),
    )
    need(all(0 <= count <= most for count, most in counts), "more is free than there is")
    _pages(m)
    _slots(m)
    cpus = vm[x86.CPUS :].reshape(x86.CPUS_MAX, x86.CPU_WORDS)
    _handles(cpus[:, x86.PAE_ROOTS : x86.PAE_ROOTS + 4], m, "a root")
    _handles(np.where(cpus[:, x86.ROOT] == x86.PAE_LOADED, 0, cpus[:, x86.ROOT]), m, "a root")
    _in_range(cpus[:, x86.LAST_PTE_UPDATED], 0, len(m.spt), "the entry updated last")


def _pages(m: Machine) -> None:
    vm, link_end, spt_end = m.vm, len(m.link), len(m.spt)
    heads = [x86.PAGE_FREE, x86.LIST_HEAD, x86.LIST_TAIL, x86.OOS_HEAD, x86.INVALID_HEAD]
    _handles(vm[[*heads, *range(x86.HASH, x86.HASH + x86.HASH_SIZE)]], m, "the head of a list")
    _in_range(vm[[x86.LINK_FREE]], 0, link_end, "the head of a list")
    _in_range(m.link, 0, max(link_end, spt_end), "a reference")
    _in_range(m.link[x86.LINK_NEXT :: x86.LINK_WORDS], 0, link_end, "a reference")
    need(not np.any(m.link[x86.LINK_NEXT :: x86.LINK_WORDS] % x86.LINK_WORDS), "a reference")
    headers = m.page.reshape(-1, x86.PAGE_WORDS)
    for place in _HANDLES:
        _handles(headers[:, place], m, "a page's neighbour")
    _in_range(headers[:, x86.PARENTS], 1 - link_end, spt_end, "a page's parents")
    for first in range(0, len(headers), _PAGES_AT_A_TIME):
        some = headers[first : first + _PAGES_AT_A_TIME]
        tables = m.spt.reshape(-1, x86.SPT_WORDS)[first : first + len(some), : x86.ENTRIES]
        _handles(_linked(some, tables, m), m, "a page's child")


def _linked(headers: Any, tables: Any, m: Machine) -> Any:
    """The handles that the entries of some pages above the last level hold."""
    level = (headers[:, x86.ROLE] & x86.ROLE_LEVEL_MASK) >> x86.ROLE_LEVEL_SHIFT
    entries = tables[(level > 1) & (headers[:, x86.FREED] == 0)]
    is_link = (entries & x86.PRESENT != 0) & (entries & x86.LARGE == 0)
    is_link &= (entries != m.vm[x86.TRAP]) & (entries != m.vm[x86.NOTRAP])
    return (entries[is_link] & x86.FRAME_MASK) >> x86.PAGE_SHIFT


def _slots(m: Machine) -> None:
    need(0 <= m.vm[x86.SLOT_COUNT] <= x86.SLOTS_MAX, "more memory slots than a host has")
    slots = m.vm[x86.SLOTS : x86.SLOTS + x86.SLOTS_MAX * x86.SLOT_WORDS]
    for slot in slots.reshape(-1, x86.SLOT_WORDS).tolist():
        base, pages = slot[x86.SLOT_BASE], slot[x86.SLOT_PAGES]
        if not pages:
            need(not any(slot), "a memory slot without pages")
            continue
        places = [slot[p] for p in (x86.SLOT_FRAMES, x86.SLOT_LARGE2, x86.SLOT_LARGE3)]
        need(base >= 0 and pages > 0 and base + pages <= MAX_GFN, "a memory slot outside memory")
        lengths = [pages, *(large_region_count(base, pages, level) for level in (2, 3))]
        at = places[0]
        for place, length in zip(places, lengths, strict=True):
            need(place == at >= 0, "a memory slot's records are not where they must be")
            at += length * x86.FRAME_WORDS
        need(at <= len(m.frame), "a memory slot's records are not where they must be")
        frames = m.frame[places[0] : places[1]].reshape(-1, x86.FRAME_WORDS)
        _in_range(frames[:, x86.RMAP], 1 - len(m.link), len(m.spt), "a reverse map")
        end = int(m.vm[x86.MEM_NEXT]) - x86.ENTRIES + 1
        _in_range(frames[:, x86.MEMORY], 0, end, "a frame's content")


def _handles(words: Any, m: Machine, what: str) -> None:
    _in_range(words, 0, len(m.page), what)
    need(not np.any(words % x86.PAGE_WORDS), f"{what} is no page")


def _in_range(words: Any, start: int, end: int, what: str) -> None:
    if len(words):
        need(start <= int(words.min()) and int(words.max()) < end, f"{what} lies outside")

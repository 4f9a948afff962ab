"""The kind of each named word of a host: one table, for snapshots and for ``state()``.

:mod:`refault.engines.shadow.state.words` says where a word is, this table what it holds. By it a
snapshot's handles are checked (:mod:`~refault.engines.shadow.state.checks`), and ``state()`` uses
the same names.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from refault.engines.shadow.state import words
from refault.replay import x86
from refault.results import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from refault.engines.shadow.state.machine import Machine


class Kind(enum.Enum):
    """What a word holds."""

    NUMBER = "number"
    HEX = "hex"  # an address, an entry, a register
    PAGE = "page"  # the handle of a shadow page, 0: none
    ROOT = "root"  # that, or PAE_LOADED
    SPTEP = "sptep"  # an offset into spt[], 0: none
    LINK = "link"  # a node of link[], 0: none
    PARENTS = "parents"  # 0: none, a sptep, or minus a chain node


class Field(NamedTuple):
    """``word_count`` words from ``place`` on, under one name."""

    name: str
    place: int
    kind: Kind = Kind.NUMBER
    word_count: int = 1


#: Of ``vm[]``: the host's own.
HOST = (
    Field("vcpu_count", words.VCPU_COUNT),
    Field("slot_count", words.SLOT_COUNT),
    Field("bypass", words.BYPASS),
    Field("limit_requested", words.LIMIT_REQUESTED),
    Field("default_limit", words.DEFAULT_LIMIT),
    Field("bug", words.BUG),
    Field("current_cpu", words.CURRENT_CPU),
    Field("collected_flushes", words.COLLECTED),
    Field("tlbs_dirty", words.TLBS_DIRTY),
    Field("change_epoch", words.CHANGE_EPOCH),
    Field("link_epoch", words.LINK_EPOCH),
    Field("page_free", words.PAGE_FREE, Kind.PAGE),
    Field("page_free_count", words.PAGE_FREE_COUNT),
    Field("link_free", words.LINK_FREE, Kind.LINK),
    Field("link_free_count", words.LINK_FREE_COUNT),
    Field("list_head", words.LIST_HEAD, Kind.PAGE),
    Field("list_tail", words.LIST_TAIL, Kind.PAGE),
    Field("oos_head", words.OOS_HEAD, Kind.PAGE),
    Field("invalid_head", words.INVALID_HEAD, Kind.PAGE),
    Field("hash", words.HASH, Kind.PAGE, words.HASH_SIZE),
    Field("queue_count", words.QUEUE_COUNT),
    Field("queue", words.QUEUE, Kind.HEX, words.QUEUE_MAX),
)
#: Of each vCPU's part of ``vm[]``.
VCPU = (
    Field("cr0", words.CR0, Kind.HEX),
    Field("cr3", words.CR3, Kind.HEX),
    Field("cr4", words.CR4, Kind.HEX),
    Field("efer", words.EFER, Kind.HEX),
    Field("base_role", words.BASE_ROLE, Kind.HEX),
    Field("root", words.ROOT, Kind.ROOT),
    Field("root_level", words.ROOT_LEVEL),
    Field("requests", words.REQUESTS),
    Field("last_pt_write_gfn", words.LAST_PT_WRITE_GFN, Kind.HEX),
    Field("last_pt_write_count", words.LAST_PT_WRITE_COUNT),
    Field("last_pte_updated", words.LAST_PTE_UPDATED, Kind.SPTEP),
    Field("last_pte_gfn", words.LAST_PTE_GFN, Kind.HEX),
    Field("update_gfn", words.UPDATE_GFN, Kind.HEX),
    Field("booted", words.BOOTED),
    Field("role_left", words.ROLE_LEFT, Kind.HEX),
    Field("pdptrs", words.PDPTRS, Kind.HEX, 4),
    Field("pae_roots", words.PAE_ROOTS, Kind.PAGE, 4),
    Field("fault_gva", words.FAULT_GVA, Kind.HEX),
    Field("fault_code", words.FAULT_CODE, Kind.HEX),
    Field("fault_cr3", words.FAULT_CR3, Kind.HEX),
    Field("pair_root", words.PAIR_ROOT, Kind.PAGE),
    Field("pair_cr3", words.PAIR_CR3, Kind.HEX),
)
#: Of each memory slot's part of ``vm[]``.
SLOT = (
    Field("base_gfn", words.SLOT_BASE, Kind.HEX),
    Field("page_count", words.SLOT_PAGES),
    Field("host_level", words.SLOT_HOST_LEVEL),
    Field("dirty_log", words.SLOT_LOG),
)
#: Of each shadow page's header in ``page[]``.
PAGE = (
    Field("gfn", words.GFN, Kind.HEX),
    Field("role", words.ROLE, Kind.HEX),
    Field("root_count", words.ROOT_COUNT),
    Field("unsync", words.UNSYNC),
    Field("unsync_children", words.UNSYNC_CHILDREN),
    Field("parents", words.PARENTS, Kind.PARENTS),
    Field("hash_next", words.HASH_NEXT, Kind.PAGE),
    Field("hash_prev", words.HASH_PREV, Kind.PAGE),
    Field("list_next", words.LIST_NEXT, Kind.PAGE),
    Field("list_prev", words.LIST_PREV, Kind.PAGE),
    Field("oos_next", words.OOS_NEXT, Kind.PAGE),
    Field("oos_prev", words.OOS_PREV, Kind.PAGE),
    Field("slot_bitmap", words.SLOT_BITMAP, Kind.HEX),
    Field("all_global", words.ALL_GLOBAL),
    Field("epoch", words.EPOCH),
)


def places(fields: Sequence[Field], kind: Kind) -> list[int]:
    """The places of the words of that kind."""
    return [
        place
        for field in fields
        if field.kind is kind
        for place in range(field.place, field.place + field.word_count)
    ]


def state_of(m: Machine) -> dict[str, Any]:
    """All named words of a host as JSON: counters, host, vCPUs, slots, and the pages in use.

    Pages are newest first, as in KVM's list; ``page`` is a page's handle, by which other words
    refer to it. Bucket heads are left out: the pages' ``hash_next`` has the chains of the hash.
    """
    vm = m.vm
    cpus = range(words.CPUS, words.CPUS + int(vm[words.VCPU_COUNT]) * words.CPU_WORDS)
    slots = range(words.SLOTS, words.SLOTS + int(vm[words.SLOT_COUNT]) * words.SLOT_WORDS)
    return {
        "engine": "shadow",
        "counters": {name: int(vm[place]) for place, name in enumerate(COUNTERS)},
        "host": _named(vm, 0, [field for field in HOST if field.name != "hash"]),
        "vcpus": [_named(vm, cpu, VCPU) for cpu in cpus[:: words.CPU_WORDS]],
        "slots": [
            {"slot": number, **_named(vm, slot, SLOT)}
            for number, slot in enumerate(slots[:: words.SLOT_WORDS])
            if vm[slot + words.SLOT_USED]
        ],
        "pages": [{"page": sp, **_page(m, sp)} for sp in _active(m)],
    }


def _active(m: Machine) -> Iterator[int]:
    sp = int(m.vm[words.LIST_HEAD])
    for _ in range(int(m.vm[words.ACTIVE])):
        if not sp:
            return
        yield sp
        sp = int(m.page[sp + words.LIST_NEXT])


def _page(m: Machine, sp: int) -> dict[str, Any]:
    role = int(m.page[sp + words.ROLE])
    absent = (int(m.vm[words.TRAP]), int(m.vm[words.NOTRAP]))
    table = sp << 5
    entries = {
        index: int(spte)
        for index, spte in enumerate(m.spt[table : table + x86.ENTRIES])
        if int(spte) not in absent
    }
    return {
        "level": (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT,
        **_named(m.page, sp, PAGE),
        "entries": {index: _hex(spte) for index, spte in entries.items()},
    }


def _named(array: Any, base: int, fields: Sequence[Field]) -> dict[str, Any]:
    return {field.name: _shown(array, base + field.place, field) for field in fields}


def _shown(array: Any, place: int, field: Field) -> Any:
    values = [int(word) for word in array[place : place + field.word_count]]
    shown = [_hex(value) if field.kind is Kind.HEX else value for value in values]
    return shown if field.word_count > 1 else shown[0]


def _hex(value: int) -> str:
    return hex(value & ((1 << 64) - 1))

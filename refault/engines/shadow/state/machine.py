"""All state of one simulated host: seven flat arrays of ``int64``.

They are all the state between two operations, so a snapshot is a copy, and two hosts in
the same state are equal byte for byte. Compiled kernels take numpy arrays; interpreted
ones take lists, which Python indexes several times faster.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.catalogue import values
from refault.engines.shadow.state import words
from refault.errors import ReplayRefused
from refault.replay import x86
from refault.replay.arrays import longer, zeros
from refault.replay.budget import unbounded
from refault.replay.guests import check_slot
from refault.trace.format import MAX_GUEST_PAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refault.replay.budget import Ask

    Words = MutableSequence[int]

# The most that one operation can use. An access takes up to EXITS_MAX exits, and before each
# the roots may be loaded again. Pages: four roots and one level below them, or one root and
# three levels (long mode). Every other operation only enters the guest.
PAGES_PER_OPERATION = 5 * words.EXITS_MAX
# Nodes, for each exit: one for the parents of each of three pages linked, one for the reverse map
# of each leaf of the group that a fault may map. A table write adds at most one leaf to every
# shadow page of the table, which may be all pages, including new ones. And one for each page in
# use, for each table write that is queued.
LINKS_PER_OPERATION = (3 + words.PREFETCHED) * words.EXITS_MAX + PAGES_PER_OPERATION
# A and D are set in entries that are not zero, so only the store itself can need a frame.
FRAMES_PER_OPERATION = 1
# Rows of the event log: two walks per exit, its pages, and the zap and sync of any page.
EVENTS_PER_OPERATION = 64 * words.EXITS_MAX
EVENTS_PER_PAGE = 4

#: Bounds on what a trace may make the host allocate (pages, words, frame records).
PAGES_MAX = 1 << 17
MEMORY_WORDS_MAX = 1 << 29
# And the records of large regions, and the bits of dirty logs: 32 to a word, twice.
SLOT_FRAMES_MAX = MAX_GUEST_PAGES + MAX_GUEST_PAGES // 256 + MAX_GUEST_PAGES // 32

#: The place of each knob of the catalogue in ``vm[]``.
KNOB_PLACES = {
    name.removeprefix("KNOB_").lower(): place
    for name, place in vars(words).items()
    if name.startswith("KNOB_")
}


class Machine(NamedTuple):
    """One host. Word meanings: :mod:`refault.engines.shadow.state.words`."""

    vm: Any
    page: Any
    spt: Any
    link: Any
    frame: Any
    mem: Any
    tlb: Any  # empty without a TLB


def create(
    knobs: Mapping[str, int],
    *,
    bypass: int,
    interpreted: bool,
    with_events: bool = False,
    ask: Ask = unbounded,
) -> Machine:
    """A host without vCPUs, slots or guest, configured as one variant.

    ``knobs`` are all of the catalogue's; ``bypass`` is VMX's bypass_guest_pf. With events there
    is room for what kvm/tracepoints.py writes. ``ask`` is called before an array grows, here
    and below (:mod:`refault.replay.budget`).
    """
    m = Machine(
        vm=zeros(words.VM_WORDS, interpreted=interpreted),
        page=zeros(words.PAGE_WORDS, interpreted=interpreted),
        spt=zeros(words.SPT_WORDS, interpreted=interpreted),
        link=zeros(words.LINK_WORDS, interpreted=interpreted),
        frame=zeros(words.FRAME_WORDS, interpreted=interpreted),
        mem=zeros(x86.ENTRIES, interpreted=interpreted),
        tlb=zeros(1, interpreted=interpreted),
    )
    m.vm[words.MEM_NEXT] = x86.ENTRIES
    m.vm[words.STEPS_LEFT] = words.STEPS_PER_OPERATION
    for knob, value in knobs.items():
        m.vm[KNOB_PLACES[knob]] = int(value)
    by_pae = m.vm[words.KNOB_ROLE_LAYOUT] == values.ROLE_LAYOUT_PAE
    m.vm[words.FORMAT_32] = 0 if by_pae else x86.LEGACY_LEVELS
    set_bypass(m, bypass)
    if with_events:
        m.vm[words.EVENT_NEXT] = words.VM_WORDS
        m = _more_events(m, ask)
    return reserve(m, ask)


def set_bypass(m: Machine, bypass: int) -> None:
    """Choose what an absent shadow entry looks like (VMX's bypass_guest_pf)."""
    m.vm[words.BYPASS] = bypass
    m.vm[words.TRAP] = words.TRAP_WITH_BYPASS if bypass else 0
    m.vm[words.NOTRAP] = 0
    if m.vm[words.KNOB_TABLE_WRITE] == values.TABLE_WRITE_QUEUED:
        # The guest fills an entry without telling at once, so none may be hidden from the host.
        m.vm[words.NOTRAP] = m.vm[words.TRAP]


def add_tlb(m: Machine, vcpu_count: int, ask: Ask = unbounded) -> Machine:
    """The same host with a TLB, empty, in each processor."""
    m.vm[words.TLB] = 1
    return m._replace(tlb=longer(m.tlb, vcpu_count * words.TLB_WORDS, ask, "TLBs"))


def reserve(m: Machine, ask: Ask = unbounded) -> Machine:
    """The same host with room for any one operation; kernels never allocate."""
    links_wanted = LINKS_PER_OPERATION + int(m.vm[words.ACTIVE] * (1 + m.vm[words.QUEUE_COUNT]))
    if m.vm[words.PAGE_FREE_COUNT] < PAGES_PER_OPERATION:
        m = _more_pages(m, ask)
    if m.vm[words.LINK_FREE_COUNT] < links_wanted:
        m = _more_links(m, links_wanted, ask)
    if len(m.mem) - m.vm[words.MEM_NEXT] < FRAMES_PER_OPERATION * x86.ENTRIES:
        wanted = 2 * len(m.mem) + 64 * x86.ENTRIES
        if wanted > MEMORY_WORDS_MAX:
            msg = (
                f"the guest writes more than {MEMORY_WORDS_MAX >> 17} MiB of memory; "
                "replay a shorter trace"
            )
            raise ReplayRefused(msg)
        m = m._replace(mem=longer(m.mem, wanted, ask, "what the guest writes"))
    if m.vm[words.EVENT_END]:
        m = _more_events(m, ask)
    return m


def _more_events(m: Machine, ask: Ask) -> Machine:
    rows = EVENTS_PER_OPERATION + EVENTS_PER_PAGE * int(m.vm[words.ACTIVE])
    if len(m.vm) - words.VM_WORDS < rows * words.EVENT_WORDS:
        wanted = words.VM_WORDS + 2 * rows * words.EVENT_WORDS
        m = m._replace(vm=longer(m.vm, wanted, ask, "its event log"))
        m.vm[words.EVENT_END] = len(m.vm)
    return m


def _more_pages(m: Machine, ask: Ask) -> Machine:
    old = len(m.page) // words.PAGE_WORDS
    new = 2 * old + PAGES_PER_OPERATION
    if new > PAGES_MAX:
        msg = (
            f"more than {PAGES_MAX} shadow pages are in use; "
            "replay with a lower page limit (--page-limit)"
        )
        raise ReplayRefused(msg)
    m = m._replace(
        page=longer(m.page, new * words.PAGE_WORDS, ask, "shadow pages"),
        spt=longer(m.spt, new * words.SPT_WORDS, ask, "shadow pages"),
    )
    m.page[old * words.PAGE_WORDS + words.FREED :: words.PAGE_WORDS] = [1] * (new - old)
    _chain(m.page, words.LIST_NEXT, words.PAGE_WORDS, old, new, int(m.vm[words.PAGE_FREE]))
    m.vm[words.PAGE_FREE] = old * words.PAGE_WORDS
    m.vm[words.PAGE_FREE_COUNT] += new - old
    return m


def _chain(words: Any, place: int, size: int, first: int, end: int, behind: int) -> None:
    """Link each record from ``first`` on to the next one, and the last one to ``behind``."""
    after: Any = range((first + 1) * size, end * size, size)
    if not isinstance(words, list):
        after = np.asarray(np.arange(after.start, after.stop, size), np.int64)
    last = (end - 1) * size + place
    words[first * size + place : last : size] = after
    words[last] = behind


def _more_links(m: Machine, wanted: int, ask: Ask) -> Machine:
    old = len(m.link) // words.LINK_WORDS
    new = 2 * old + wanted
    m = m._replace(link=longer(m.link, new * words.LINK_WORDS, ask, "reverse maps"))
    _chain(m.link, words.LINK_NEXT, words.LINK_WORDS, old, new, int(m.vm[words.LINK_FREE]))
    m.vm[words.LINK_FREE] = old * words.LINK_WORDS
    m.vm[words.LINK_FREE_COUNT] += new - old
    return m


def add_slot(
    m: Machine,
    slot: int,
    base_gfn: int,
    page_count: int,
    host_level: int,
    ask: Ask = unbounded,
) -> Machine:
    """The same host with one more memory slot (kvm_main.c: __kvm_set_memory_region).

    A slot that was deleted and is added again unchanged keeps what the guest left in it.

    Raises:
        ReplayRefused: it overlaps another, exists already, or makes memory larger than allowed.
    """
    vm = m.vm
    used = (
        (other, int(vm[at + words.SLOT_BASE]), int(vm[at + words.SLOT_PAGES]))
        for other, at in enumerate(_slot_places())
        if vm[at + words.SLOT_USED]
    )
    check_slot(slot, base_gfn, page_count, used)
    place = words.SLOTS + slot * words.SLOT_WORDS
    same = base_gfn == vm[place + words.SLOT_BASE] and page_count == vm[place + words.SLOT_PAGES]
    if same:
        vm[place + words.SLOT_HOST_LEVEL], vm[place + words.SLOT_LOG] = host_level, 0
        vm[place + words.SLOT_USED] = 1
        return m
    start = len(m.frame)
    large2, counts2 = _large_regions(base_gfn, page_count, 2)
    large3, counts3 = _large_regions(base_gfn, page_count, 3)
    length = start + words.FRAME_WORDS * (page_count + large2 + large3) + bitmap_words(page_count)
    if length > words.FRAME_WORDS * SLOT_FRAMES_MAX:
        msg = (
            f"memory slot {slot}: more than {MAX_GUEST_PAGES >> 8} MiB of guest memory in all, "
            "that of deleted slots included"
        )
        raise ReplayRefused(msg)
    m = m._replace(frame=longer(m.frame, length, ask, f"memory slot {slot}"))
    at2 = start + words.FRAME_WORDS * page_count
    at3 = at2 + words.FRAME_WORDS * large2
    for at, counts in ((at2, counts2), (at3, counts3)):
        for index in counts:
            m.frame[at + index * words.FRAME_WORDS + words.WRITE_COUNT] += 1
    for word, value in (
        (words.SLOT_BASE, base_gfn),
        (words.SLOT_PAGES, page_count),
        (words.SLOT_HOST_LEVEL, host_level),
        (words.SLOT_LOG, 0),
        (words.SLOT_FRAMES, start),
        (words.SLOT_LARGE2, at2),
        (words.SLOT_LARGE3, at3),
        (words.SLOT_USED, 1),
    ):
        vm[place + word] = value
    vm[words.SLOT_COUNT] = max(vm[words.SLOT_COUNT], slot + 1)
    return m


def _large_regions(base_gfn: int, page_count: int, level: int) -> tuple[int, list[int]]:
    """Number of ``level``-sized regions of a slot, and those that its edges cut."""
    pages = 1 << (9 * (level - 1))
    count = large_region_count(base_gfn, page_count, level)
    forbidden = []
    if base_gfn % pages:
        forbidden.append(0)
    if (base_gfn + page_count) % pages:
        forbidden.append(count - 1)
    return count, forbidden


def bitmap_words(page_count: int) -> int:
    """Words of a slot's dirty log, and of what was written (kvm/dirty.py)."""
    return 2 * ((page_count + 31) // 32)


def large_region_count(base_gfn: int, page_count: int, level: int) -> int:
    """How many ``level``-sized regions a slot touches."""
    pages = 1 << (9 * (level - 1))
    return (base_gfn + page_count - 1) // pages - base_gfn // pages + 1


def total_slot_pages(m: Machine) -> int:
    """Pages in all slots, from which KVM's default page limit is computed."""
    return sum(
        int(m.vm[at + words.SLOT_PAGES]) for at in _slot_places() if m.vm[at + words.SLOT_USED]
    )


def _slot_places() -> range:
    """The place of each memory slot in ``vm[]``."""
    end = words.SLOTS + words.SLOTS_MAX * words.SLOT_WORDS
    return range(words.SLOTS, end, words.SLOT_WORDS)

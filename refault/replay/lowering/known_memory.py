"""What is known of the content of guest memory from a capture, and how the guest reaches it.

It lacks A and D bits that a processor would have set; it serves to find an address through
which the guest can store to a page table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.replay import x86
from refault.replay.budget import unbounded
from refault.replay.compile.jit import inlined, kernel
from refault.trace.format import MAX_SLOTS, MAX_VCPUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.replay.budget import Ask
    from refault.trace import MemorySlot

# Where a 64-bit Linux guest maps all of memory, and its own image (its x86_64/mm.rst); a 32-bit
# one maps what it can of both from PAGE_OFFSET on (the default of its CONFIG_PAGE_OFFSET).
DIRECT_MAP = -0x7780_0000_0000
DIRECT_MAP_5 = -0xEF_0000_0000_0000  # with five levels
IMAGE_MAP = -0x8000_0000
LOW_MAP = 0xC000_0000
LOW_MAP_END = 0x1_0000_0000

# state[]
AT_START = 0  # 1 until the guest has done anything
ROW_COUNT = 1  # rows written in this call
HELD = 2  # a table store waits for the table snapshots right after it
HELD_VCPU = 3
HELD_GPA = 4
HELD_SIZE = 5
HELD_VALUE = 6
HELD_EVENT = 7
SNAP_VCPU = 8
SNAP_GFN = 9
SNAP_LEFT = 10  # entries still to come
SNAP_EVENT = 11
MEMORY_NEXT = 12
FRAME_COUNT = 13
SLOT_COUNT = 14
BOOT_CR0 = 15
BOOT_CR3 = 16
CR4_MORE = 17  # bits of CR4 that this guest may set and others may not
SKIPPED = 20  # events that became no operation though one would expect it, by reason
SKIP_IO = 0
SKIP_NOT_BOOTED = 1
SKIP_STORE_TO_TABLE = 2  # not lost: a TABLE_STORE event holds it too
SKIP_STORE_UNKNOWN = 3
SKIP_WOULD_HIT_TABLE = 4
SKIP_OUTSIDE_MEMORY = 5
SKIP_UNSUPPORTED = 6
APPLIED_UNMAPPED = 7  # applied, but without the fault and the mapping of the guest's store
APPLIED_INVPCID = 8  # applied as INVLPG, or as a reload of CR3
SKIP_REASONS = (
    "device",
    "vcpu-not-booted",
    "store-carried-by-table-store",
    "store-without-address",
    "store-would-damage-table",
    "outside-memory",
    "unsupported",
    "table-store-applied-without-mapping",
    "invpcid-applied-as-flush",
)
SLOT_TABLE = 32  # base, pages, first frame number of each
SLOT_TABLE_WORDS = 3
VCPU_TABLE = SLOT_TABLE + SLOT_TABLE_WORDS * MAX_SLOTS
PDPT_MASK = 0xFFFF_FFE0  # of CR3 under PAE
LARGE_32_INSIDE = (1 << 22) - 1  # of a 4 MiB page

VCPU_TABLE_WORDS = 6  # cr0 cr3 cr4 efer, whether booted, and cr4 as the real guest had it
STATE_WORDS = VCPU_TABLE + VCPU_TABLE_WORDS * MAX_VCPUS

ROWS_PER_EVENT = x86.ENTRIES + 2
PAGES_PER_EVENT = 4


class Lowering(NamedTuple):
    """State between two calls. Frames are numbered across all slots."""

    state: Any
    image: Any  # the page of the table snapshot being read
    pages: Any  # per frame: offset of its content in memory, 0: all zero
    tracked: Any  # per frame: 1 while it is tracked as a page table
    last_store: Any  # per vCPU and frame: 1 | virtual page of the latest store seen to it
    memory: Any


def create(
    slots: Sequence[MemorySlot], vcpu_count: int, *, interpreted: bool, ask: Ask = unbounded
) -> Lowering:
    """The state before the first event of a trace; ``ask`` is called before each allocation."""
    frames = sum(slot.page_count for slot in slots)

    def words(count: int) -> Any:
        ask(count, "the guest's memory slots")
        return [0] * count if interpreted else np.zeros(count, np.int64)

    lowering = Lowering(
        state=words(STATE_WORDS),
        image=words(x86.ENTRIES),
        pages=words(frames + 1),
        tracked=words(frames + 1),
        last_store=words(max(1, frames * vcpu_count)),
        memory=words(256 * x86.ENTRIES),
    )
    state = lowering.state
    state[AT_START] = 1
    state[MEMORY_NEXT] = x86.ENTRIES
    state[FRAME_COUNT] = frames
    state[SLOT_COUNT] = len(slots)
    first = 0
    for i, slot in enumerate(slots):
        place = SLOT_TABLE + i * SLOT_TABLE_WORDS
        state[place : place + 3] = [slot.base_gfn, slot.page_count, first]
        first += slot.page_count
    return lowering


def reserve(lowering: Lowering, ask: Ask = unbounded) -> Lowering:
    """The same state with room in ``memory`` for some more pages."""
    if has_memory(lowering):
        return lowering
    old = lowering.memory
    ask(2 * len(old), "the guest's page tables")
    if isinstance(old, list):
        return lowering._replace(memory=old + [0] * len(old))
    return lowering._replace(memory=np.concatenate((old, np.zeros_like(old))))


def has_memory(lowering: Lowering) -> bool:
    """Is there room in ``memory`` for the next event?"""
    left = len(lowering.memory) - int(lowering.state[MEMORY_NEXT])
    return left >= PAGES_PER_EVENT * x86.ENTRIES


@inlined
def frame_number(t: Lowering, gfn: int) -> int:
    """Number of a guest frame across all slots, or -1 outside memory."""
    for i in range(t.state[SLOT_COUNT]):
        place = SLOT_TABLE + i * SLOT_TABLE_WORDS
        base = t.state[place]
        if base <= gfn < base + t.state[place + 1]:
            return t.state[place + 2] + gfn - base
    return -1


@kernel
def known_word(t: Lowering, frame: int, index: int) -> int:
    """One word of guest memory, as far as it is known."""
    return t.memory[t.pages[frame] + index]


@kernel
def known_entry(t: Lowering, gpa: int, size: int) -> int:
    """The table entry of 4 or 8 bytes at ``gpa``, or 0 (absent) outside memory."""
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    if frame < 0:
        return 0
    word = known_word(t, frame, (gpa >> 3) & 511)
    return word if size == 8 else word >> ((gpa & 4) << 3) & x86.U32


@kernel
def set_known_word(t: Lowering, frame: int, index: int, value: int) -> None:
    """Write one word; a frame that has only held zeros takes no memory."""
    page = t.pages[frame]
    if page == 0:
        if value == 0:
            return
        page = t.state[MEMORY_NEXT]
        t.state[MEMORY_NEXT] = page + x86.ENTRIES
        t.pages[frame] = page
    t.memory[page + index] = value


@kernel
def known_walk(t: Lowering, vcpu: int, gva: int, user: int) -> int:
    """Address to which ``gva`` is mapped writable in known memory, or -1.

    Without paging that is the linear address.
    """
    cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
    if not t.state[cpu] & x86.CR0_PG:
        return gva & x86.U32
    need = x86.PRESENT | x86.WRITABLE
    if user:
        need |= x86.USER
    if not t.state[cpu + 3] & x86.EFER_LME:
        return known_walk_32(t, cpu, gva & x86.U32, need)
    levels = x86.LONG_LEVELS + (1 if t.state[cpu + 2] & x86.CR4_LA57 else 0)
    top = gva >> (11 + 9 * levels)
    if top != 0 and top != -1:
        return -1
    return known_descent(t, t.state[cpu + 1], levels, gva, need)


@kernel
def known_walk_32(t: Lowering, cpu: int, gva: int, need: int) -> int:
    """As ``known_walk`` outside long mode, for the low 32 bits of an address.

    A PDPTE grants everything but its own presence; the processor read it when CR3 was loaded, so
    one that changed since may mislead: then the store finds no mapping, or faults and is counted.
    """
    cr3 = t.state[cpu + 1]
    if t.state[cpu + 2] & x86.CR4_PAE:
        pdpte = known_entry(t, (cr3 & PDPT_MASK) + (gva >> 30) * 8, 8)
        if not pdpte & x86.PRESENT:
            return -1
        return known_descent(t, pdpte, x86.PAE_LEVELS - 1, gva, need)
    gpte = known_entry(t, (cr3 & x86.FRAME32_MASK) + (gva >> 22) * 4, 4)
    if gpte & need != need:
        return -1
    if gpte & x86.LARGE and t.state[cpu + 2] & x86.CR4_PSE:
        high = (gpte >> 13 & 0xFF) << 32  # PSE-36: bits 13 to 20 are address bits 32 to 39
        return high | (gpte & x86.FRAME32_MASK & ~LARGE_32_INSIDE) | (gva & LARGE_32_INSIDE)
    gpte = known_entry(t, (gpte & x86.FRAME32_MASK) + (gva >> 12 & 1023) * 4, 4)
    if gpte & need != need:
        return -1
    return (gpte & x86.FRAME32_MASK) | (gva & 0xFFF)


@kernel
def known_descent(t: Lowering, gpte: int, level: int, gva: int, need: int) -> int:
    """Down the tables of 8-byte entries from the one that ``gpte`` names; -1 without ``need``."""
    while True:  # one iteration per level
        frame = frame_number(t, (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT)
        if frame < 0:
            return -1
        gpte = known_word(t, frame, (gva >> (3 + 9 * level)) & 511)
        if gpte & need != need:
            return -1
        if level == 1 or (gpte & x86.LARGE and level <= 3):
            inside = (1 << (3 + 9 * level)) - 1
            return (gpte & x86.FRAME_MASK & ~inside) | (gva & inside)
        level -= 1


@kernel
def mapping_for_store(t: Lowering, vcpu: int, gpa: int) -> int:
    """An address through which this vCPU's kernel can store to ``gpa``; 1 if there is none."""
    cpu = VCPU_TABLE + vcpu * VCPU_TABLE_WORDS
    if not t.state[cpu + 4]:
        return 1
    if t.state[cpu + 3] & x86.EFER_LME or not t.state[cpu] & x86.CR0_PG:
        direct = DIRECT_MAP_5 if t.state[cpu + 2] & x86.CR4_LA57 else DIRECT_MAP
        if known_walk(t, vcpu, direct + gpa, 0) == gpa:
            return direct + gpa
        if gpa < -IMAGE_MAP and known_walk(t, vcpu, IMAGE_MAP + gpa, 0) == gpa:
            return IMAGE_MAP + gpa
    elif LOW_MAP + gpa < LOW_MAP_END and known_walk(t, vcpu, LOW_MAP + gpa, 0) == gpa:
        return LOW_MAP + gpa
    frame = frame_number(t, gpa >> x86.PAGE_SHIFT)
    page = t.last_store[vcpu * t.state[FRAME_COUNT] + frame]
    if page:
        gva = (page & ~1) | (gpa & 0xFFF)
        if known_walk(t, vcpu, gva, 0) == gpa:
            return gva
    return 1

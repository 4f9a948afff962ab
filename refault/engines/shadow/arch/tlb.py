"""The processor's TLB, one per vCPU: a parameter of the variant, off by default.

256 sets of 4 ways, filled round robin, keyed by page and size::

    tlb[]  ┌────────────────── 256 sets, a cache line each ──────────────────┐
           │ key  key  key  key  data data data data │ …                     │
           ├───────────── which way of each set is filled next ──────────────┤
           └─────────────────────────────────────────────────────────────────┘

    key    generation << 38 | level << 36 | gva >> 12 of the page's first byte
    data   an spte: P A W U as every level grants them, and in bits 12-39 the frame;
           bits 40-45 the memory slot, bit 63 inverted: 1: may be executed

A flush increments the vCPU's generation, so that no key matches any more. An entry is
*not* dropped when the shadow tables change: until KVM flushes, as it must, the
processor reaches what was mapped before. D is set in every leaf KVM installs and A was
set by the walk that filled the entry.
"""

from __future__ import annotations

from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import inlined, kernel

SETS = 256
WAYS = 4
SET_WORDS = 2 * WAYS
NEXT_WAY = SETS * SET_WORDS
FRAME_MASK = 0x00FF_FFFF_F000
SLOT_SHIFT = 40
SLOT_MASK = 63
GRANTS = x86.PRESENT | x86.ACCESSED | x86.PERMISSIONS | x86.NX

LEVEL_SHIFT = 36
GENERATION = 1 << 38
GENERATION_END = 1 << 62
PAGE_OF_GVA = (1 << LEVEL_SHIFT) - 1


@kernel
def drop_all(m: Machine, cpu: int) -> None:
    """A flush of this vCPU's hardware; in host context there is none to flush."""
    vm = m.vm
    if cpu < words.CPUS:
        return
    vm[cpu + words.TLB_SIZES] = 0
    vm[cpu + words.TLB_KEY] += GENERATION
    if vm[cpu + words.TLB_KEY] == GENERATION_END:
        vm[cpu + words.TLB_KEY] = 0
        if vm[words.TLB]:
            base = tlb_of(cpu)
            for place in range(base, base + NEXT_WAY):
                m.tlb[place] = 0


@inlined
def tlb_of(cpu: int) -> int:
    """Offset of a vCPU's TLB in ``tlb[]``."""
    return (cpu - words.CPUS) * (words.TLB_WORDS // words.CPU_WORDS)


@inlined
def page_key(gva: int, level: int) -> int:
    """A page's part of the key."""
    page = (gva >> x86.PAGE_SHIFT) & PAGE_OF_GVA & ~((1 << (9 * (level - 1))) - 1)
    return (level << LEVEL_SHIFT) | page


@inlined
def set_of(cpu: int, gva: int, level: int) -> int:
    """Offset of the set a page belongs to."""
    return tlb_of(cpu) + ((gva >> (3 + 9 * level)) & (SETS - 1)) * SET_WORDS


@inlined
def data_of(m: Machine, place: int, key: int) -> int:
    """The data kept under that key in the set at ``place``, or 0.

    The way is computed without branches, since which way matches cannot be predicted.
    """
    tlb = m.tlb
    way = int(tlb[place + 1] == key)
    way |= 2 * int(tlb[place + 2] == key)
    way |= 3 * int(tlb[place + 3] == key)
    if tlb[place + way] == key:
        return tlb[place + way + WAYS]
    return 0


@inlined
def needed(kind_writes: int, user: int, kind_fetches: int) -> int:
    """What an entry must grant, in the form of ``data``."""
    need = x86.PRESENT | x86.ACCESSED
    if kind_writes:
        need |= x86.WRITABLE
    if user:
        need |= x86.USER
    if kind_fetches:
        need |= x86.NX
    return need


@inlined
def frame_at(m: Machine, data: int, gpa: int) -> int:
    """Offset in ``frame[]`` of the record of the frame that holds ``gpa``."""
    slot = words.SLOTS + ((data >> SLOT_SHIFT) & SLOT_MASK) * words.SLOT_WORDS
    index = (gpa >> x86.PAGE_SHIFT) - m.vm[slot + words.SLOT_BASE]
    return m.vm[slot + words.SLOT_FRAMES] + index * words.FRAME_WORDS


@kernel
def lookup(m: Machine, cpu: int, gva: int, need: int) -> int:
    """The address an entry gives for ``gva``, or -1; an entry that grants too little is dropped."""
    for level in range(1, 4):
        if level > 1 and not m.vm[cpu + words.TLB_SIZES] & (1 << level):
            continue
        place = set_of(cpu, gva, level)
        key = m.vm[cpu + words.TLB_KEY] | page_key(gva, level)
        data = data_of(m, place, key)
        if data & need == need:
            return (data & FRAME_MASK) | (gva & ((1 << (3 + 9 * level)) - 1))
        if data:
            for way in range(WAYS):
                if m.tlb[place + way] == key:
                    m.tlb[place + way] = 0
            return -1
    return -1


@kernel
def fill(m: Machine, cpu: int, gva: int, gpa: int, level: int, granted: int) -> None:
    """Cache what a walk found: a leaf of ``level``, and of ``GRANTS`` what all levels grant."""
    place = set_of(cpu, gva, level)
    turn = tlb_of(cpu) + NEXT_WAY + ((gva >> (3 + 9 * level)) & (SETS - 1))
    way = m.tlb[turn]
    m.tlb[turn] = (way + 1) & (WAYS - 1)
    first = gpa & ~((1 << (3 + 9 * level)) - 1)
    slot = (slot_of(m, gpa >> x86.PAGE_SHIFT) - words.SLOTS) // words.SLOT_WORDS
    m.tlb[place + way] = m.vm[cpu + words.TLB_KEY] | page_key(gva, level)
    m.tlb[place + way + WAYS] = first | (granted & GRANTS) | (slot << SLOT_SHIFT)
    m.vm[cpu + words.TLB_SIZES] |= 1 << level

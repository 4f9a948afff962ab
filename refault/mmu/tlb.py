"""The processor's TLB, one a vCPU: a parameter of the variant, off unless asked for.

256 sets of 4 ways, filled round robin, keyed by page and size::

    tlb[]  ┌────────────────── 256 sets, a cache line each ──────────────────┐
           │ key  key  key  key  data data data data │ …                       │
           ├────────── the same ways: offset of the page in frame[] ─────────┤
           └────────── which way of each set goes next ─────────────────────┘

    key    generation << 38 | level << 36 | (gva >> 12 of the page's first byte)
    data   an spte: the leaf's frame, and of P A W U what every level grants;
           bit 63 is turned round, 1: may be executed

A flush raises the vCPU's generation, so that no key matches any more. An entry is
*not* dropped when the shadow tables change: until the flush KVM owes the guest, the
processor reaches what was mapped before. D is set in every leaf KVM installs and A was
set by the walk that filled the entry.
"""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.guest import frame_of
from refault.mmu.jit import inlined, kernel
from refault.mmu.machine import Machine

SETS = 256
WAYS = 4
SET_WORDS = 2 * WAYS
FRAMES = SETS * SET_WORDS
NEXT_WAY = FRAMES + SETS * WAYS

LEVEL_SHIFT = 36
GENERATION = 1 << 38
GENERATION_END = 1 << 62
PAGE_OF_GVA = (1 << LEVEL_SHIFT) - 1


@kernel
def drop_all(m: Machine, cpu: int) -> None:
    """A flush of this vCPU's hardware."""
    vm = m.vm
    vm[cpu + x86.TLB_SIZES] = 0
    vm[cpu + x86.TLB_KEY] += GENERATION
    if vm[cpu + x86.TLB_KEY] == GENERATION_END:
        vm[cpu + x86.TLB_KEY] = 0
        if vm[x86.TLB]:
            base = tlb_of(cpu)
            for place in range(base, base + FRAMES):
                m.tlb[place] = 0


@inlined
def tlb_of(cpu: int) -> int:
    """Offset of a vCPU's TLB in ``tlb[]``."""
    return (cpu - x86.CPUS) * (x86.TLB_WORDS // x86.CPU_WORDS)


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
def way_of(m: Machine, place: int, key: int) -> int:
    """Offset of the entry with that key in the set at ``place``, or -1.

    Without branches: which way answers is as good as random.
    """
    tlb = m.tlb
    first = int(tlb[place] == key)
    second = int(tlb[place + 1] == key)
    third = int(tlb[place + 2] == key)
    fourth = int(tlb[place + 3] == key)
    if first | second | third | fourth:
        return place + second + 2 * third + 3 * fourth
    return -1


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
def frame_at(m: Machine, entry: int) -> int:
    """Offset in ``frame[]`` of the first frame of an entry's page."""
    base = entry & -x86.TLB_WORDS
    place = entry - base
    return m.tlb[base + FRAMES + (place // SET_WORDS) * WAYS + place % SET_WORDS]


@kernel
def lookup(m: Machine, cpu: int, gva: int, need: int) -> int:
    """The address an entry gives for ``gva``, or -1; one that grants too little is dropped."""
    for level in range(1, 4):
        if level > 1 and not m.vm[cpu + x86.TLB_SIZES] & (1 << level):
            continue
        key = m.vm[cpu + x86.TLB_KEY] | page_key(gva, level)
        entry = way_of(m, set_of(cpu, gva, level), key)
        if entry >= 0:
            data = m.tlb[entry + WAYS]
            if data & need == need:
                inside = (1 << (3 + 9 * level)) - 1
                return (data & x86.FRAME_MASK) | (gva & inside)
            m.tlb[entry] = 0
            return -1
    return -1


@kernel
def fill(m: Machine, cpu: int, gva: int, gpa: int, level: int, granted: int) -> None:
    """Keep what a walk found: a leaf of ``level``; bits of ``data`` that all levels grant."""
    inside = (1 << (3 + 9 * level)) - 1
    place = set_of(cpu, gva, level)
    index = (place & (x86.TLB_WORDS - 1)) // SET_WORDS
    base = tlb_of(cpu)
    way = m.tlb[base + NEXT_WAY + index]
    m.tlb[base + NEXT_WAY + index] = (way + 1) & (WAYS - 1)
    m.tlb[place + way] = m.vm[cpu + x86.TLB_KEY] | page_key(gva, level)
    bits = x86.PRESENT | x86.ACCESSED | x86.PERMISSIONS | x86.NX
    m.tlb[place + way + WAYS] = (gpa & ~inside) | (granted & bits)
    m.tlb[base + FRAMES + index * WAYS + way] = frame_of(m, (gpa & ~inside) >> x86.PAGE_SHIFT)
    m.vm[cpu + x86.TLB_SIZES] |= 1 << level

"""The dirty log of a slot: which frames the guest or the host wrote since it was last read.

A bit per frame of the slot, 32 to a word, behind the slot's other records in ``frame[]``. A frame
is dirty once a leaf grants W to it, once the host writes it for the guest, and a table once the
host's walk sets A or D in it (kvm_main.c: mark_page_dirty). What CR0.WP=0 lets a leaf write that
the guest's entry does not allow is not seen.
"""

from __future__ import annotations

from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay.compile.jit import kernel

_SHIFT_1G = 18
# What the content of a log is told by: a polynomial in the frames' places, modulo a prime.
_PRIME = (1 << 31) - 1
_FACTOR = 1_000_003


@kernel
def bitmap_of(m: Machine, slot: int) -> int:
    """Where a slot's bits begin in ``frame[]``; ``slot`` is its place in ``vm[]``."""
    base, pages = m.vm[slot + words.SLOT_BASE], m.vm[slot + words.SLOT_PAGES]
    regions = ((base + pages - 1) >> _SHIFT_1G) - (base >> _SHIFT_1G) + 1
    return m.vm[slot + words.SLOT_LARGE3] + regions * words.FRAME_WORDS


@kernel
def mark_page_dirty(m: Machine, gfn: int) -> None:
    """A frame was written, or may be from now on without an exit."""
    slot = slot_of(m, gfn)
    if slot == 0 or not m.vm[slot + words.SLOT_LOG]:
        return
    place = gfn - m.vm[slot + words.SLOT_BASE]
    m.frame[bitmap_of(m, slot) + (place >> 5)] |= 1 << (place & 31)


@kernel
def forget_dirty(m: Machine, slot: int) -> None:
    """Begin a slot's log, or begin it again: nothing is dirty."""
    first = bitmap_of(m, slot)
    for i in range(first, first + ((m.vm[slot + words.SLOT_PAGES] + 31) >> 5)):
        m.frame[i] = 0


@kernel
def read_dirty(m: Machine, slot: int) -> int:
    """How many frames of a slot are dirty; ``OUT_VALUE`` tells which, as one number."""
    first = bitmap_of(m, slot)
    count, content = 0, 0
    for i in range((m.vm[slot + words.SLOT_PAGES] + 31) >> 5):
        bits = m.frame[first + i]
        if bits == 0:
            continue
        if not goes_on(m, 32):
            break
        for bit in range(32):
            if bits >> bit & 1:
                count += 1
                content = (content * _FACTOR + (i << 5 | bit) + 1) % _PRIME
    m.vm[words.OUT_VALUE] = content
    return count

"""The dirty log of a slot: which frames the guest or the host wrote since it was last read.

A bit per frame of the slot, 32 to a word, behind the slot's other records in ``frame[]``. A frame
is dirty once a leaf grants W to it, once the host writes it for the guest, and a table once the
host's walk sets A or D in it (kvm_main.c: mark_page_dirty). What CR0.WP=0 lets a leaf write that
the guest's entry does not allow is not seen.

Behind them, as many bits say what was written since (arch/guest.py: mark_written). A log may hold
more than that, and never less: a page that it lacks is not sent again, so a guest that is migrated
finds old content there.
"""

from __future__ import annotations

from refault.engines.shadow.arch.guest import bitmap_of, slot_of, written_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.shadow.state.steps import goes_on
from refault.replay.compile.jit import kernel

# What the content of a log is told by: a polynomial in the frames' places, modulo a prime.
_PRIME = (1 << 31) - 1
_FACTOR = 1_000_003


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
def forget_written(m: Machine, slot: int) -> None:
    """What was written up to now was told, or nobody asks for it."""
    first = written_of(m, slot)
    for i in range(first, first + ((m.vm[slot + words.SLOT_PAGES] + 31) >> 5)):
        m.frame[i] = 0


@kernel
def count_logged(m: Machine) -> None:
    """A log was switched on or off, or its slot was deleted."""
    count = 0
    for i in range(m.vm[words.SLOT_COUNT]):
        slot = words.SLOTS + i * words.SLOT_WORDS
        count += int(m.vm[slot + words.SLOT_USED] != 0 and m.vm[slot + words.SLOT_LOG] != 0)
    m.vm[words.LOGGING] = count


@kernel
def content_with(content: int, place: int) -> int:
    """The number that stands for a log's content, with one more frame."""
    return (content * _FACTOR + place + 1) % _PRIME


@kernel
def read_dirty(m: Machine, slot: int) -> int:
    """How many frames of a slot are dirty; ``OUT_VALUE`` tells which, as one number.

    ``OUT_WRITTEN`` is how many were written since the log began or was read, ``OUT_LOST`` how many
    of these it lacks.
    """
    first, second = bitmap_of(m, slot), written_of(m, slot)
    count, content, total, lost = 0, 0, 0, 0
    for i in range((m.vm[slot + words.SLOT_PAGES] + 31) >> 5):
        bits, written = m.frame[first + i], m.frame[second + i]
        if bits | written == 0:
            continue
        if not goes_on(m, 32):
            break
        for bit in range(32):
            total += written >> bit & 1
            if bits >> bit & 1:
                count += 1
                content = content_with(content, i << 5 | bit)
            else:
                lost += written >> bit & 1
    m.vm[words.OUT_VALUE] = content
    m.vm[words.OUT_WRITTEN], m.vm[words.OUT_LOST] = total, lost
    return count

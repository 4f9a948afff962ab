"""The guest's memory: slots, frames, words and entries."""

from __future__ import annotations

from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.replay.memory import merged_word

_SHIFT_1G = 18


@kernel
def slot_of(m: Machine, gfn: int) -> int:
    """Offset of the memory slot that holds ``gfn`` in ``vm[]``, or 0."""
    for i in range(m.vm[words.SLOT_COUNT]):
        slot = words.SLOTS + i * words.SLOT_WORDS
        base = m.vm[slot + words.SLOT_BASE]
        if base <= gfn < base + m.vm[slot + words.SLOT_PAGES] and m.vm[slot + words.SLOT_USED]:
            return slot
    return 0


@kernel
def frame_of(m: Machine, gfn: int) -> int:
    """Offset in ``frame[]`` of the record of ``gfn``, which must lie in a slot."""
    slot = slot_of(m, gfn)
    base = m.vm[slot + words.SLOT_FRAMES]
    return base + (gfn - m.vm[slot + words.SLOT_BASE]) * words.FRAME_WORDS


@kernel
def read_word(m: Machine, gpa: int) -> int:
    """The aligned 8-byte word of guest memory at ``gpa``, which must lie in a slot."""
    page = m.frame[frame_of(m, gpa >> x86.PAGE_SHIFT) + words.MEMORY]
    return m.mem[page + ((gpa >> 3) & 511)]


@kernel
def write_word(m: Machine, gpa: int, value: int) -> None:
    """Store an aligned word; a frame that has only held zeros takes no memory."""
    frame = frame_of(m, gpa >> x86.PAGE_SHIFT)
    page = m.frame[frame + words.MEMORY]
    if page == 0:
        if value == 0:
            return
        page = m.vm[words.MEM_NEXT]
        m.vm[words.MEM_NEXT] = page + x86.ENTRIES
        m.frame[frame + words.MEMORY] = page
    m.mem[page + ((gpa >> 3) & 511)] = value


@kernel
def bitmap_of(m: Machine, slot: int) -> int:
    """Where a slot's dirty log begins in ``frame[]``; ``slot`` is its place in ``vm[]``."""
    base, pages = m.vm[slot + words.SLOT_BASE], m.vm[slot + words.SLOT_PAGES]
    regions = ((base + pages - 1) >> _SHIFT_1G) - (base >> _SHIFT_1G) + 1
    return m.vm[slot + words.SLOT_LARGE3] + regions * words.FRAME_WORDS


@kernel
def written_of(m: Machine, slot: int) -> int:
    """Where the bits of what was written begin: behind the log, as many words, in its order."""
    return bitmap_of(m, slot) + ((m.vm[slot + words.SLOT_PAGES] + 31) >> 5)


@kernel
def mark_written(m: Machine, gfn: int) -> None:
    """A frame is written; if its slot is logged, its log must hold it when it is read.

    No kernel knows of these bits: they are what its log is held against.
    """
    slot = slot_of(m, gfn)
    if slot == 0 or not m.vm[slot + words.SLOT_LOG]:
        return
    place = gfn - m.vm[slot + words.SLOT_BASE]
    m.frame[written_of(m, slot) + (place >> 5)] |= 1 << (place & 31)


@kernel
def write_guest(m: Machine, gpa: int, size: int, value: int) -> None:
    """Store ``size`` bytes within one aligned word, for the guest."""
    if m.vm[words.LOGGING]:
        mark_written(m, gpa >> x86.PAGE_SHIFT)
    word = gpa & ~7
    write_word(m, word, merged_word(read_word(m, word), gpa, size, value))


@kernel
def read_gpte(m: Machine, gpa: int, size: int) -> int:
    """A guest entry of 8 bytes, or of 4 bytes zero-extended."""
    word = read_word(m, gpa & ~7)
    if size == 8:
        return word
    return (word >> ((gpa & 4) << 3)) & x86.U32


@kernel
def write_gpte(m: Machine, gpa: int, size: int, gpte: int) -> None:
    """Store a guest entry of 4 or 8 bytes, as the processor sets A and D."""
    write_guest(m, gpa, size, gpte)

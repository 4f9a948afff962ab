"""The guest's memory: slots, frames, words and entries."""

from __future__ import annotations

from refault.mmu import layout as x86
from refault.mmu.jit import kernel
from refault.mmu.machine import Machine


@kernel
def slot_of(m: Machine, gfn: int) -> int:
    """Offset of the memory slot that holds ``gfn`` in ``vm[]``, or 0."""
    for i in range(m.vm[x86.SLOT_COUNT]):
        slot = x86.SLOTS + i * x86.SLOT_WORDS
        base = m.vm[slot + x86.SLOT_BASE]
        if base <= gfn < base + m.vm[slot + x86.SLOT_PAGES] and m.vm[slot + x86.SLOT_USED]:
            return slot
    return 0


@kernel
def frame_of(m: Machine, gfn: int) -> int:
    """Offset in ``frame[]`` of the record of ``gfn``; the caller knows that a slot holds it."""
    slot = slot_of(m, gfn)
    base = m.vm[slot + x86.SLOT_FRAMES]
    return base + (gfn - m.vm[slot + x86.SLOT_BASE]) * x86.FRAME_WORDS


@kernel
def read_word(m: Machine, gpa: int) -> int:
    """The aligned 8-byte word of guest memory at ``gpa``; the caller knows that a slot holds it."""
    page = m.frame[frame_of(m, gpa >> x86.PAGE_SHIFT) + x86.MEMORY]
    return m.mem[page + ((gpa >> 3) & 511)]


@kernel
def write_word(m: Machine, gpa: int, value: int) -> None:
    """Store an aligned word; a frame that only ever held zeros takes no memory."""
    frame = frame_of(m, gpa >> x86.PAGE_SHIFT)
    page = m.frame[frame + x86.MEMORY]
    if page == 0:
        if value == 0:
            return
        page = m.vm[x86.MEM_NEXT]
        m.vm[x86.MEM_NEXT] = page + x86.ENTRIES
        m.frame[frame + x86.MEMORY] = page
    m.mem[page + ((gpa >> 3) & 511)] = value


@kernel
def merged_word(keep: int, gpa: int, size: int, value: int) -> int:
    """The aligned word ``keep`` after a store of 1, 2, 4 or 8 bytes at ``gpa`` inside it."""
    if size == 8:
        return value
    shift = (gpa & 7) * 8
    mask = (1 << (8 * size)) - 1
    # Work on the two halves, so that no intermediate needs a 65th bit.
    if shift < 32:
        low = (keep & 0xFFFF_FFFF & ~(mask << shift)) | ((value & mask) << shift)
        return (keep & ~0xFFFF_FFFF) | (low & 0xFFFF_FFFF)
    shift -= 32
    high = ((keep >> 32) & ~(mask << shift)) | ((value & mask) << shift)
    high &= 0xFFFF_FFFF
    if high >= 0x8000_0000:
        high -= 0x1_0000_0000
    return (high << 32) | (keep & 0xFFFF_FFFF)


@kernel
def write_guest(m: Machine, gpa: int, size: int, value: int) -> None:
    """Store ``size`` bytes that do not leave their aligned word."""
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

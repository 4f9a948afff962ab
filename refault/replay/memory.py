"""Words of guest memory."""

from __future__ import annotations

from refault.replay.compile.jit import kernel


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

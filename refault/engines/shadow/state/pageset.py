"""The set of a host's shadow pages, and its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refault.catalogue import values
from refault.engines.shadow.kvm.parents import count_parents
from refault.engines.shadow.state import words
from refault.engines.shadow.state.steps import begin_steps
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel

if TYPE_CHECKING:
    from refault.engines.shadow.state.machine import Machine

_OFFSET_BASIS = 0xCBF2_9CE4_8422_2325
_PRIME_LOW = 0x1B3  # the prime is 2**40 + 0x1b3
_LOW = 0xFFFF_FFFF


@door
def fnv1a(text: Any, high: int, low: int) -> int:
    """FNV-1a 64 over ``text``, continued from the state ``high`` << 32 | ``low``.

    In halves of 32 bits, because kernels have no unsigned 64-bit product. The answer is the
    state as a signed word.
    """
    for byte in text:
        low ^= byte
        product = low * _PRIME_LOW
        high = (high * _PRIME_LOW + (product >> 32) + (low << 8)) & _LOW
        low = product & _LOW
    if high >= 0x8000_0000:
        high -= 0x1_0000_0000
    return (high << 32) | low


@kernel
def role_word(m: Machine, role: int) -> int:
    """A role with its bits in the order of the simulated release.

    2.6.35: level 0-3, cr4_pae 4, quadrant 5-6, direct 13, access 14-16, invalid 17,
    nxe 18, cr0_wp 19.
    """
    if m.vm[words.KNOB_ROLE_LAYOUT] != values.ROLE_LAYOUT_PAE:
        return role
    level = (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
    upper = (role & (words.ROLE_NXE | words.ROLE_CR0_WP)) >> 4
    middle = (role & 0x1FFF00) >> 3  # quadrant, direct, access, invalid
    return level | (role & words.ROLE_FORMAT_MASK) << 4 | middle | upper


@door
def collect(m: Machine, rows: Any) -> int:
    """Write seven words for each active page to ``rows``; answers how many pages there are."""
    m = bare(m)
    begin_steps(m)
    count = 0
    sp = m.vm[words.LIST_HEAD]
    while sp and count < m.vm[words.ACTIVE]:  # for which ``rows`` has room
        at = count * 7
        rows[at] = m.page[sp + words.GFN]
        rows[at + 1] = role_word(m, m.page[sp + words.ROLE])
        rows[at + 2] = m.page[sp + words.UNSYNC]
        rows[at + 3] = m.page[sp + words.UNSYNC_CHILDREN]
        rows[at + 4] = m.page[sp + words.ROOT_COUNT]
        present = 0
        for sptep in range(sp << 5, (sp << 5) + x86.ENTRIES):
            if m.spt[sptep] != m.vm[words.TRAP] and m.spt[sptep] != m.vm[words.NOTRAP]:
                present += 1
        rows[at + 5] = present
        rows[at + 6] = count_parents(m, sp)
        count += 1
        sp = m.page[sp + words.LIST_NEXT]
    return count


def page_set(m: Machine) -> list[list[int]]:
    """Sorted rows: gfn, role, unsync, unsync_children, root_count, present, parents."""
    size = 7 * int(m.vm[words.ACTIVE])
    rows: Any = [0] * size if isinstance(m.vm, list) else np.zeros(size, np.int64)
    count = collect(m, rows)
    return sorted(np.asarray(rows, np.int64).reshape(count, 7).tolist())


def page_digest(m: Machine) -> int:
    """FNV-1a 64 over the first five words of each page, one line of decimal numbers per page."""
    lines = "".join(":".join(map(str, row[:5])) + "\n" for row in page_set(m)).encode()
    text: Any = lines if isinstance(m.vm, list) else np.frombuffer(lines, np.uint8)
    return fnv1a(text, _OFFSET_BASIS >> 32, _OFFSET_BASIS & _LOW) & ((1 << 64) - 1)

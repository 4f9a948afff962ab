"""Guest memory, and one walk of the guest's tables (Intel SDM 3A, 4.3 to 4.8).

::

    4-level   CR3 ─► level 4 ─► 3 ─► 2 ─► 1      8-byte entries, 9 bits of address per level
    PAE       cached PDPTE ─► level 2 ─► 1        8-byte entries; the PDPTE grants everything
    32-bit    CR3 ─► level 2 ─► 1                 4-byte entries, 10 bits of address per level
    none      the linear address is the physical one

An entry that is absent or has a reserved bit set ends the walk; rights are those of all levels
together, checked at its end (SDM 4.6, 4.7). A is set in each entry used, D in the leaf of a store.
"""

from __future__ import annotations

from refault.engines.walk.words import (
    ADDRESS,
    CPU_WORDS,
    CPUS,
    CR0,
    CR3,
    CR4,
    EFER,
    MEM_NEXT,
    PDPTES,
    SLOT_BASE,
    SLOT_COUNT,
    SLOT_FRAMES,
    SLOT_PAGES,
    SLOT_USED,
    SLOT_WORDS,
    SLOTS,
    Machine,
)
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.replay.memory import merged_word


@kernel
def cpu_of(vcpu: int) -> int:
    """Offset of a vCPU's registers in ``state``."""
    return CPUS + vcpu * CPU_WORDS


@kernel
def frame_of(m: Machine, gfn: int) -> int:
    """Place of a guest frame in ``frames``, or 0 outside memory."""
    for i in range(m.state[SLOT_COUNT]):
        slot = SLOTS + i * SLOT_WORDS
        base = m.state[slot + SLOT_BASE]
        if base <= gfn < base + m.state[slot + SLOT_PAGES] and m.state[slot + SLOT_USED]:
            return m.state[slot + SLOT_FRAMES] + gfn - base
    return 0


@kernel
def read_word(m: Machine, gpa: int) -> int:
    """The aligned 8-byte word at ``gpa``, which must be in memory."""
    return m.mem[m.frames[frame_of(m, gpa >> x86.PAGE_SHIFT)] + ((gpa >> 3) & 511)]


@kernel
def write_word(m: Machine, gpa: int, value: int) -> None:
    """Store an aligned word; a frame that has only held zeros takes no memory."""
    frame = frame_of(m, gpa >> x86.PAGE_SHIFT)
    page = m.frames[frame]
    if page == 0:
        if value == 0:
            return
        page = m.state[MEM_NEXT]
        m.state[MEM_NEXT] = page + x86.ENTRIES
        m.frames[frame] = page
    m.mem[page + ((gpa >> 3) & 511)] = value


@kernel
def write_guest(m: Machine, gpa: int, size: int, value: int) -> None:
    """Store ``size`` bytes within one aligned word."""
    word = gpa & ~7
    write_word(m, word, merged_word(read_word(m, word), gpa, size, value))


@kernel
def levels_of(m: Machine, cpu: int) -> int:
    """Levels of the guest's tables (SDM 4.1.1); 0 without paging."""
    state = m.state
    if not state[cpu + CR0] & x86.CR0_PG:
        return x86.NONPAGING
    if state[cpu + EFER] & x86.EFER_LMA:
        return x86.LONG_LEVELS
    return x86.PAE_LEVELS if state[cpu + CR4] & x86.CR4_PAE else x86.LEGACY_LEVELS


@kernel
def is_leaf(m: Machine, cpu: int, levels: int, level: int, entry: int) -> bool:
    """Does a present entry map a page? Bit 7 is PAT at level 1, and PS above."""
    if level == 1 or not entry & x86.LARGE:
        return level == 1
    if levels == x86.LEGACY_LEVELS:
        return m.state[cpu + CR4] & x86.CR4_PSE != 0
    return level == 2 or (level == 3 and levels == x86.LONG_LEVELS)


@kernel
def reserved_of(m: Machine, cpu: int, levels: int, level: int, leaf: bool) -> int:
    """Bits of an entry that must be zero (SDM tables 4-5 to 4-20)."""
    if levels == x86.LEGACY_LEVELS:
        return x86.RSVD_4M if leaf and level == 2 else 0
    mask = x86.RSVD_PHYS if levels == x86.LONG_LEVELS else x86.RSVD_PAE_PHYS
    if not m.state[cpu + EFER] & x86.EFER_NX:
        mask |= x86.NX
    if level == 4:
        mask |= x86.LARGE
    elif leaf and level == 3:
        mask |= x86.RSVD_1G
    elif leaf and level == 2:
        mask |= x86.RSVD_2M
    return mask


@kernel
def fault(m: Machine, cpu: int, code: int, write: int, user: int, fetch: int) -> int:
    """A #PF; its code has bit 4 (a fetch) only with EFER.NXE and CR4.PAE (SDM 4.7)."""
    if write:
        code |= x86.PF_WRITE
    if user:
        code |= x86.PF_USER
    if fetch and m.state[cpu + EFER] & x86.EFER_NX and m.state[cpu + CR4] & x86.CR4_PAE:
        code |= x86.PF_FETCH
    m.result[ADDRESS] = code
    return out.PF


@kernel
def walk(m: Machine, cpu: int, gva: int, write: int, user: int, fetch: int) -> int:
    """OK with the physical address in ``result``, or PF with the code, or GP."""
    state = m.state
    levels = levels_of(m, cpu)
    if levels == x86.NONPAGING:
        m.result[ADDRESS] = gva & x86.U32
        return out.OK
    if levels == x86.LONG_LEVELS:
        if gva >> 47 != 0 and gva >> 47 != -1:
            return out.GP
    else:
        gva &= x86.U32
    size = 4 if levels == x86.LEGACY_LEVELS else 8
    bits = 10 if size == 4 else 9
    level = levels
    entry = state[cpu + CR3]
    if levels == x86.PAE_LEVELS:
        entry = state[cpu + PDPTES + (gva >> 30 & 3)]
        if not entry & x86.PRESENT:
            return fault(m, cpu, 0, write, user, fetch)
        level = 2
    rights = x86.PERMISSIONS
    may_fetch = 1
    while True:  # one iteration per level
        index = gva >> (x86.PAGE_SHIFT + bits * (level - 1)) & ((1 << bits) - 1)
        mask = x86.FRAME32_MASK if size == 4 else x86.FRAME_MASK
        gpa = (entry & mask) + index * size
        if frame_of(m, gpa >> x86.PAGE_SHIFT) == 0:
            return fault(m, cpu, 0, write, user, fetch)
        entry = read_word(m, gpa & ~7)
        if size == 4:
            entry = entry >> ((gpa & 4) << 3) & x86.U32
        if not entry & x86.PRESENT:
            return fault(m, cpu, 0, write, user, fetch)
        leaf = is_leaf(m, cpu, levels, level, entry)
        if entry & reserved_of(m, cpu, levels, level, leaf):
            return fault(m, cpu, x86.PF_PRESENT | x86.PF_RSVD, write, user, fetch)
        rights &= entry
        if size == 8 and entry < 0:
            may_fetch = 0
        if leaf:
            break
        if not entry & x86.ACCESSED:
            write_guest(m, gpa, size, entry | x86.ACCESSED)
        level -= 1
    guarded = user or state[cpu + CR0] & x86.CR0_WP
    if (
        (user and not rights & x86.USER)
        or (write and guarded and not rights & x86.WRITABLE)
        or (fetch and not may_fetch)
    ):
        return fault(m, cpu, x86.PF_PRESENT, write, user, fetch)
    marked = entry | x86.ACCESSED | (x86.DIRTY if write else 0)
    if marked != entry:
        write_guest(m, gpa, size, marked)
    inside = (1 << (x86.PAGE_SHIFT + bits * (level - 1))) - 1
    address = (entry & mask & ~inside) | (gva & inside)
    if size == 4 and level == 2:  # PSE-36: bits 13 to 20 are address bits 32 to 39
        address += (entry >> 13 & 0xFF) << 32
    m.result[ADDRESS] = address
    return out.OK

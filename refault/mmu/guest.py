"""The guest: its memory slots, its memory and the walk of its page tables."""

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
def reserved_bits(level: int, gpte: int, nx: int) -> int:
    """Bits of a long-mode entry that must be zero, in 2.6.34's reading.

    A last-level entry with bit 7 (PAT) set has an empty mask there
    (reset_rsvds_bits_mask copies the row onto itself before it is filled).
    """
    if level == 1 and gpte & x86.LARGE:
        return 0
    mask = x86.RSVD_PHYS
    if nx == 0:
        mask |= x86.NX
    if level == 4:
        return mask | x86.RSVD_7_8
    if gpte & x86.LARGE:
        if level == 3:
            return mask | x86.RSVD_1G
        return mask | x86.RSVD_2M
    if level == 3:
        return mask | x86.RSVD_7_8
    return mask


@kernel
def gpte_access(gpte: int, nx: int) -> int:
    """ACC_* bits a guest entry grants; NX counts only while EFER.NX is set."""
    access = (gpte & x86.PERMISSIONS) | x86.ACC_EXEC
    if nx and gpte < 0:
        access &= ~x86.ACC_EXEC
    return access


@kernel
def walk_failed(m: Machine, code: int, write: int, user: int, fetch: int) -> int:
    """End a walk with the #PF code for what was asked."""
    if write:
        code |= x86.PF_WRITE
    if user:
        code |= x86.PF_USER
    if fetch:
        code |= x86.PF_FETCH
    m.vm[x86.WALK_ERROR] = code
    return 0


@kernel
def walk_addr(m: Machine, cpu: int, gva: int, write: int, user: int, fetch: int) -> int:
    """Walk the guest's tables as KVM does, setting A and D (paging_tmpl.h: walk_addr).

    Returns 1 and fills ``WALK_*``, or 0 with the #PF code in ``WALK_ERROR``. Checks
    are made at each level as it is read, so a walk that fails deeper has already
    set A higher up.
    """
    vm = m.vm
    nx = vm[cpu + x86.EFER] & x86.EFER_NX
    wp = vm[cpu + x86.CR0] & x86.CR0_WP
    gpte = vm[cpu + x86.CR3]
    pt_access = x86.ACC_ALL
    level = x86.LONG_LEVELS
    while True:
        table_gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        gpa = (table_gfn << x86.PAGE_SHIFT) | (((gva >> (3 + 9 * level)) & 511) << 3)
        vm[x86.WALK_TABLE_GFNS + level - 1] = table_gfn
        vm[x86.WALK_PTE_GPAS + level - 1] = gpa
        if slot_of(m, table_gfn) == 0:
            return walk_failed(m, 0, write, user, fetch)
        gpte = read_word(m, gpa)
        if not gpte & x86.PRESENT:
            return walk_failed(m, 0, write, user, fetch)
        if gpte & reserved_bits(level, gpte, nx):
            return walk_failed(m, x86.PF_PRESENT | x86.PF_RSVD, write, user, fetch)
        if (
            (write and not gpte & x86.WRITABLE and (user or wp))
            or (user and not gpte & x86.USER)
            or (fetch and nx and gpte < 0)
        ):
            return walk_failed(m, x86.PF_PRESENT, write, user, fetch)
        if not gpte & x86.ACCESSED:
            gpte |= x86.ACCESSED
            write_word(m, gpa, gpte)
        pte_access = pt_access & gpte_access(gpte, nx)
        vm[x86.WALK_PTES + level - 1] = gpte
        if level == 1 or (gpte & x86.LARGE and level <= 3):
            break
        pt_access = pte_access
        level -= 1
    if write and not gpte & x86.DIRTY:
        gpte |= x86.DIRTY
        write_word(m, gpa, gpte)
        vm[x86.WALK_PTES + level - 1] = gpte
    inside = (1 << (9 * (level - 1))) - 1
    frame = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
    vm[x86.WALK_GFN] = (frame & ~inside) + ((gva >> x86.PAGE_SHIFT) & inside)
    vm[x86.WALK_LEVEL] = level
    vm[x86.WALK_PT_ACCESS] = pt_access
    vm[x86.WALK_PTE_ACCESS] = pte_access
    return 1


@kernel
def probe(m: Machine, cpu: int, gva: int, write: int, user: int, fetch: int) -> int:
    """What a walk of the guest's tables gives now, changing nothing: the gpa, or -1 - #PF code."""
    vm = m.vm
    nx = vm[cpu + x86.EFER] & x86.EFER_NX
    wp = vm[cpu + x86.CR0] & x86.CR0_WP
    code = 0
    if write:
        code |= x86.PF_WRITE
    if user:
        code |= x86.PF_USER
    if fetch and (nx or vm[x86.BYPASS]):
        code |= x86.PF_FETCH
    gpte = vm[cpu + x86.CR3]
    level = x86.LONG_LEVELS
    while True:
        gfn = (gpte & x86.FRAME_MASK) >> x86.PAGE_SHIFT
        if slot_of(m, gfn) == 0:
            return -1 - code
        gpte = read_word(m, (gfn << x86.PAGE_SHIFT) | (((gva >> (3 + 9 * level)) & 511) << 3))
        if not gpte & x86.PRESENT:
            return -1 - code
        if gpte & reserved_bits(level, gpte, nx):
            return -1 - (code | x86.PF_PRESENT | x86.PF_RSVD)
        if (
            (write and not gpte & x86.WRITABLE and (user or wp))
            or (user and not gpte & x86.USER)
            or (fetch and nx and gpte < 0)
        ):
            return -1 - (code | x86.PF_PRESENT)
        if level == 1 or (gpte & x86.LARGE and level <= 3):
            inside = (1 << (3 + 9 * level)) - 1
            return (gpte & x86.FRAME_MASK & ~inside) | (gva & inside)
        level -= 1

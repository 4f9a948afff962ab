"""The guest's own tables, read as the architecture reads them (Intel SDM 3A, 4.3 to 4.8).

The rules are those of the engine ``walk``, which shares nothing with the model of KVM: its
registers follow every register write by its own rules, and its memory is the memory of the host
that is checked. Nothing here changes memory.
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.words import Audit
from refault.engines.walk import words as arch
from refault.engines.walk.paging import cpu_of, frame_of, is_leaf, levels_of, read_word, reserved_of
from refault.engines.walk.words import Machine as Guest
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def entry_bytes(levels: int) -> int:
    """Bytes of an entry in tables of that many levels."""
    return 4 if levels == x86.LEGACY_LEVELS else 8


@kernel
def frame_mask(levels: int) -> int:
    """The bits of an entry that hold the frame."""
    return x86.FRAME32_MASK if levels == x86.LEGACY_LEVELS else x86.FRAME_MASK


@kernel
def index_shift(levels: int, level: int) -> int:
    """The lowest bit of an address that selects an entry of that level."""
    return x86.PAGE_SHIFT + (10 if levels == x86.LEGACY_LEVELS else 9) * (level - 1)


@kernel
def place_of(levels: int, level: int, table: int, gva: int) -> int:
    """The gpa of the entry for an address in a table of that level."""
    bits = 10 if levels == x86.LEGACY_LEVELS else 9
    index = gva >> index_shift(levels, level) & ((1 << bits) - 1)
    return table + index * entry_bytes(levels)


@kernel
def entry_at(g: Guest, levels: int, gpa: int) -> int:
    """The entry at ``gpa``, or 0 (absent) outside memory."""
    if frame_of(g, gpa >> x86.PAGE_SHIFT) == 0:
        return 0
    word = read_word(g, gpa & ~7)
    if levels == x86.LEGACY_LEVELS:
        return word >> ((gpa & 4) << 3) & x86.U32
    return word


@kernel
def leaf_address(levels: int, level: int, entry: int, gva: int) -> int:
    """The physical address a leaf gives for ``gva``."""
    inside = (1 << index_shift(levels, level)) - 1
    address = (entry & frame_mask(levels) & ~inside) | (gva & inside)
    if levels == x86.LEGACY_LEVELS and level == 2:
        address += (entry >> 13 & 0xFF) << 32  # PSE-36
    return address


@kernel
def top_table(g: Guest, cpu: int, levels: int, gva: int) -> int:
    """The table at which a walk begins, or -1 where a PDPTE is absent."""
    if levels == x86.PAE_LEVELS:
        entry = g.state[cpu + arch.PDPTES + (gva >> 30 & 3)]
        return entry & x86.FRAME_MASK if entry & x86.PRESENT else -1
    return g.state[cpu + arch.CR3] & frame_mask(levels)


@kernel
def top_level(levels: int) -> int:
    """The level of that table."""
    return 2 if levels == x86.PAE_LEVELS else levels


@kernel
def find_leaf(a: Audit, g: Guest, vcpu: int, gva: int) -> bool:
    """Walk to the leaf of ``gva`` without asking for any right; fills ``LEAF_*``."""
    s = a.state
    cpu = cpu_of(vcpu)
    levels = levels_of(g, cpu)
    s[au.LEAF_FOUND], s[au.LEAF_CODE], s[au.LEAF_ENTRY] = 0, 0, -1
    s[au.LEAF_GRANTS], s[au.LEAF_EXEC], s[au.LEAF_DIRTY] = x86.PERMISSIONS, 1, 1
    s[au.LEAF_LEVEL] = 1
    if levels == x86.NONPAGING:
        s[au.LEAF_FOUND], s[au.LEAF_ADDRESS] = 1, gva & x86.U32
        return True
    table = top_table(g, cpu, levels, gva)
    level = top_level(levels)
    while table >= 0:  # one iteration per level
        gpa = place_of(levels, level, table, gva)
        entry = entry_at(g, levels, gpa)
        s[au.LEAF_ENTRY], s[au.LEAF_LEVEL] = gpa, level
        if not entry & x86.PRESENT:
            return False
        leaf = is_leaf(g, cpu, levels, level, entry)
        if entry & reserved_of(g, cpu, levels, level, leaf):
            s[au.LEAF_CODE] = x86.PF_PRESENT | x86.PF_RSVD
            return False
        s[au.LEAF_GRANTS] &= entry
        if levels != x86.LEGACY_LEVELS and entry < 0:
            s[au.LEAF_EXEC] = 0
        if leaf:
            s[au.LEAF_DIRTY] = entry >> 6 & 1
            s[au.LEAF_ADDRESS] = leaf_address(levels, level, entry, gva)
            s[au.LEAF_FOUND] = 1
            return True
        table = entry & frame_mask(levels)
        level -= 1
    return False


@kernel
def refuses(
    g: Guest, cpu: int, grants: int, may_fetch: int, write: int, user: int, fetch: int
) -> bool:
    """Do rights that all levels grant together refuse an access?"""
    guarded = user or g.state[cpu + arch.CR0] & x86.CR0_WP
    return bool(
        (user and not grants & x86.USER)
        or (write and guarded and not grants & x86.WRITABLE)
        or (fetch and not may_fetch)
    )


@kernel
def error_code(g: Guest, cpu: int, code: int, write: int, user: int, fetch: int) -> int:
    """The code of a #PF; bit 4 (a fetch) only with EFER.NXE and CR4.PAE (SDM 4.7)."""
    if write:
        code |= x86.PF_WRITE
    if user:
        code |= x86.PF_USER
    if fetch and g.state[cpu + arch.EFER] & x86.EFER_NX and g.state[cpu + arch.CR4] & x86.CR4_PAE:
        code |= x86.PF_FETCH
    return code

"""What speaks against a known exception: a wrong leaf that a defect of that name cannot make.

An exception is told from what a finding looks like. Two defects of the kernels of that time look
like worse ones, so the guest's entry itself is asked.
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.outcome import older
from refault.engines.audit.paging import entry_at, find_leaf
from refault.engines.audit.words import Audit
from refault.engines.walk import words as arch
from refault.engines.walk.paging import cpu_of, levels_of
from refault.engines.walk.words import Machine as Guest
from refault.replay import x86
from refault.replay.compile.jit import kernel

#: A bit of a finding's detail: no known exception explains it.
UNEXPLAINED = 1 << 21

_OLDER_MAX = 64
_PAT_LARGE = 1 << 12


@kernel
def was_present(a: Audit, gpa: int) -> bool:
    """Had a guest's entry another value that was present, from which a leaf may be left?"""
    node = older(a, gpa & ~7, 0, 0)
    for _ in range(_OLDER_MAX):
        if node == 0:
            return False
        if a.past[node + au.PAST_VALUE] >> ((gpa & 4) << 3) & x86.PRESENT:
            return True
        node = older(a, gpa & ~7, node, 0)
    return True


@kernel
def reserved_from_the_start(a: Audit, g: Guest, vcpu: int, gva: int) -> int:
    """``UNEXPLAINED`` for a leaf of an entry that always had NX while EFER.NX is clear.

    Every kernel knows that this bit is reserved then (so B1 is no reason; but for PAT), and a sync
    can only leave what the entry gave before (B8).
    """
    levels = levels_of(g, cpu_of(vcpu))
    find_leaf(a, g, vcpu, gva)
    entry = a.state[au.LEAF_ENTRY]
    if a.state[au.LEVEL] == au.SAMPLED or entry < 0 or levels == x86.LEGACY_LEVELS:
        return 0
    value = entry_at(g, levels, entry)
    # Of a level-1 entry with bit 7 (PAT) the kernels of 2010 know no reserved bit at all.
    is_loose = a.state[au.LEAF_LEVEL] == 1 and value & x86.LARGE
    has_nx = g.state[cpu_of(vcpu) + arch.EFER] & x86.EFER_NX
    if is_loose or has_nx or value >= 0 or was_present(a, entry):
        return 0
    return UNEXPLAINED


@kernel
def plain_large_page(a: Audit, g: Guest, vcpu: int, gva: int) -> int:
    """``UNEXPLAINED`` for a wrong frame below a large page whose frame every kernel reads right.

    B4 is of pages of 1 GiB, and of entries with PAT.
    """
    levels = levels_of(g, cpu_of(vcpu))
    find_leaf(a, g, vcpu, gva)
    entry = a.state[au.LEAF_ENTRY]
    if not a.state[au.LEAF_FOUND] or entry < 0 or a.state[au.LEAF_LEVEL] != 2:
        return 0
    is_plain = not entry_at(g, levels, entry) & _PAT_LARGE and not was_present(a, entry)
    return UNEXPLAINED if is_plain else 0

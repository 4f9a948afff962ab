"""Follows the guest's memory: for the architecture's walk, and for the history of its words.

The memory is the host's own array. What is followed here is which frame has which part of it, what
a store is about to overwrite, and which tables changed behind the MMU.
"""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.outcome import remember
from refault.engines.audit.paging import find_leaf
from refault.engines.audit.shadow import LOW_BITS, is_indirect, leaf_gpa, shadow_leaf, tlb_gpa
from refault.engines.audit.words import Audit
from refault.engines.shadow.arch.guest import frame_of as record_of
from refault.engines.shadow.arch.guest import slot_of
from refault.engines.shadow.kvm.requests import cpu_of
from refault.engines.shadow.kvm.zap import hash_of
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.walk import words as arch
from refault.engines.walk.paging import frame_of, read_word
from refault.engines.walk.words import Machine as Guest
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def has_page(m: Machine, gfn: int) -> bool:
    """Is the frame a shadowed table?"""
    sp = m.vm[hash_of(gfn)]
    left = m.vm[words.ACTIVE] + 1
    while sp and left:  # the pages in use
        left -= 1
        if m.page[sp + words.GFN] == gfn and is_indirect(m, sp):
            return True
        sp = m.page[sp + words.HASH_NEXT]
    return False


@kernel
def old_word(g: Guest, gpa: int) -> int:
    """The word at ``gpa``, or 0 outside memory."""
    return 0 if frame_of(g, gpa >> x86.PAGE_SHIFT) == 0 else read_word(g, gpa & ~7)


@kernel
def before_store(a: Audit, m: Machine, g: Guest, vcpu: int, gva: int) -> None:
    """Keep what a store may overwrite: where the guest's tables lead, and where the shadow does."""
    s = a.state
    if vcpu >= m.vm[words.VCPU_COUNT]:
        return
    if find_leaf(a, g, vcpu, gva):
        s[au.STORE_AT] = s[au.LEAF_ADDRESS] & ~7
        s[au.STORE_OLD] = old_word(g, s[au.LEAF_ADDRESS])
    cpu = cpu_of(vcpu)
    low = gva & LOW_BITS
    gpa = tlb_gpa(m, cpu, low) if m.vm[words.TLB] else -1
    if gpa < 0:
        sptep = shadow_leaf(m, cpu, low)
        gpa = leaf_gpa(m, sptep, low) if sptep else -1
    if gpa >= 0:
        s[au.OTHER_AT], s[au.OTHER_OLD] = gpa & ~7, old_word(g, gpa)


@kernel
def follow_memory(m: Machine, g: Guest, gpa: int) -> None:
    """Let the architecture's memory have the frame that the host may just have made.

    A stretch of rows may have made several: they are told one by one, in the order of the stores.
    """
    if m.vm[words.MEM_NEXT] == g.state[arch.MEM_NEXT]:
        return
    gfn = gpa >> x86.PAGE_SHIFT
    if slot_of(m, gfn) and m.frame[record_of(m, gfn) + words.MEMORY] == g.state[arch.MEM_NEXT]:
        g.frames[frame_of(g, gfn)] = g.state[arch.MEM_NEXT]
        g.state[arch.MEM_NEXT] += x86.ENTRIES
        return
    follow_all_memory(m, g)


@kernel
def follow_all_memory(m: Machine, g: Guest) -> None:
    """Let the architecture's memory be the host's, and its slots too."""
    g.state[arch.MEM_NEXT] = m.vm[words.MEM_NEXT]
    for i in range(m.vm[words.SLOT_COUNT]):
        theirs = words.SLOTS + i * words.SLOT_WORDS
        ours = arch.SLOTS + i * arch.SLOT_WORDS
        g.state[ours + arch.SLOT_USED] = m.vm[theirs + words.SLOT_USED]
        first = m.vm[theirs + words.SLOT_FRAMES]
        for k in range(m.vm[theirs + words.SLOT_PAGES]):
            content = m.frame[first + k * words.FRAME_WORDS + words.MEMORY]
            g.frames[g.state[ours + arch.SLOT_FRAMES] + k] = content


@kernel
def after_store(a: Audit, g: Guest, gpa: int, behind: int) -> None:
    """Remember the value that a word of memory had before."""
    s = a.state
    word = gpa & ~7
    old = 0
    if word == s[au.STORE_AT]:
        old = s[au.STORE_OLD]
    elif word == s[au.OTHER_AT]:
        old = s[au.OTHER_OLD]
    if old != old_word(g, word):
        remember(a, word, old, behind)


@kernel
def note_poke(a: Audit, gfn: int) -> None:
    """A shadowed table changed and the MMU was not told."""
    s = a.state
    for i in range(s[au.POKED_COUNT]):
        if s[au.POKED + i] == gfn:
            return
    if s[au.POKED_COUNT] == au.POKED_MAX:
        s[au.IS_POKED] = 1
        return
    s[au.POKED + s[au.POKED_COUNT]] = gfn
    s[au.POKED_COUNT] += 1


@kernel
def forget_pokes(a: Audit, m: Machine) -> None:
    """Forget tables that are shadowed no more: the next shadow is made of what they hold."""
    s = a.state
    i = 0
    while i < s[au.POKED_COUNT]:  # POKED_MAX: each iteration moves on or makes it less
        if has_page(m, s[au.POKED + i]):
            i += 1
            continue
        s[au.POKED_COUNT] -= 1
        s[au.POKED + i] = s[au.POKED + s[au.POKED_COUNT]]

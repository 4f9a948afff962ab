"""F-P: control registers, INVLPG and table writes as the architecture has them."""

from __future__ import annotations

from refault.catalogue import values
from refault.engines.audit import words as au
from refault.engines.audit.found import report, watched
from refault.engines.audit.paging import find_leaf
from refault.engines.audit.shadow import shadow_leaf
from refault.engines.audit.words import Audit
from refault.engines.shadow.kvm import requests
from refault.engines.shadow.kvm.parents import level_of, page_of, quadrant_of
from refault.engines.shadow.kvm.walk import entry_size
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.walk import words as arch
from refault.engines.walk.loop import operation
from refault.engines.walk.paging import cpu_of, levels_of
from refault.engines.walk.words import Machine as Guest
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import kernel

# A register, in a finding's detail
REG_CR0 = 0
REG_CR3 = 1
REG_CR4 = 2
REG_EFER = 3
REG_PDPTE = 4  # and the three after it


@kernel
def adopt_registers(m: Machine, g: Guest, vcpu: int) -> None:
    """Take the registers of the host's vCPU for the architecture's."""
    here, there = cpu_of(vcpu), requests.cpu_of(vcpu)
    g.state[here + arch.CR0] = m.vm[there + words.CR0]
    g.state[here + arch.CR3] = m.vm[there + words.CR3]
    g.state[here + arch.CR4] = m.vm[there + words.CR4]
    g.state[here + arch.EFER] = m.vm[there + words.EFER]
    g.state[here + arch.BOOTED] = m.vm[there + words.BOOTED]
    for i in range(4):
        g.state[here + arch.PDPTES + i] = m.vm[there + words.PDPTRS + i]


@kernel
def register_holds(a: Audit, vcpu: int, register: int, place: int, value: int, wanted: int) -> None:
    """F-P2 for one register."""
    if value != wanted:
        watched(a, report(a, au.P2, vcpu, register, value, wanted, register), au.WATCH_VM, place)


@kernel
def register_write_is_the_architectures(
    a: Audit, m: Machine, g: Guest, kind: int, vcpu: int, value: int, b: int, want: int, code: int
) -> None:
    """F-P1 and F-P2; the architecture's registers follow the write by its own rules."""
    wanted = operation(g, kind, vcpu, 0, 0, value, b, want)
    if kind == op.BOOT:
        return
    if (wanted == out.GP) != (code == out.GP):
        report(a, au.P1, vcpu, value, code, wanted, kind)
        adopt_registers(m, g, vcpu)
        return
    here, there = cpu_of(vcpu), requests.cpu_of(vcpu)
    for register in range(REG_PDPTE):  # in the same order in both
        place = there + register
        register_holds(a, vcpu, register, place, m.vm[place], g.state[here + register])
    if levels_of(g, here) == x86.PAE_LEVELS:
        for i in range(4):
            place = there + words.PDPTRS + i
            wanted = g.state[here + arch.PDPTES + i]
            register_holds(a, vcpu, REG_PDPTE + i, place, m.vm[place], wanted)


@kernel
def reread_entry(m: Machine, vcpu: int, gva: int) -> int:
    """The gpa of the guest's entry that INVLPG is about to read again, or -1.

    As the variant computes it: from the place of the shadow entry, in April 2010 without the
    quadrant of a 32-bit guest's table.
    """
    form = m.vm[words.KNOB_INVLPG_WRITE]
    cpu = requests.cpu_of(vcpu)
    if form == values.INVLPG_WRITE_NONE or m.vm[cpu + words.ROOT_LEVEL] == x86.NONPAGING:
        return -1
    sptep = shadow_leaf(m, cpu, gva)
    if sptep == 0:
        return -1
    sp = page_of(sptep)
    if (
        m.vm[words.KNOB_INVLPG_SCOPE] == values.INVLPG_SCOPE_UNSYNC
        and not m.page[sp + words.UNSYNC]
    ):
        return -1
    size = entry_size(m, cpu)
    gpa = (m.page[sp + words.GFN] << x86.PAGE_SHIFT) + (sptep & 511) * size
    if size == 4 and form != values.INVLPG_WRITE_NO_QUADRANT:
        gpa += quadrant_of(m, sp) << (x86.PAGE_SHIFT - level_of(m, sp))
    return -1 if m.page[sp + words.ROLE] & words.ROLE_DIRECT else gpa


@kernel
def invlpg_rereads_its_own_entry(a: Audit, g: Guest, vcpu: int, gva: int, gpa: int) -> None:
    """F-P3: the entry that INVLPG read again is the one its address walks to."""
    if gpa < 0:
        return
    find_leaf(a, g, vcpu, gva)
    entry = a.state[au.LEAF_ENTRY]
    if entry >= 0 and entry >> x86.PAGE_SHIFT == gpa >> x86.PAGE_SHIFT and entry != gpa:
        report(a, au.P3, vcpu, gva, gpa, entry, 0)


@kernel
def store_drops_no_table(a: Audit, m: Machine, g: Guest, vcpu: int, gpa: int, size: int) -> None:
    """F-P4: an emulated store inside one entry dropped its table though it was not flooded."""
    entry = 4 if levels_of(g, cpu_of(vcpu)) == x86.LEGACY_LEVELS else 8
    cpu = requests.cpu_of(vcpu)
    if (gpa & (entry - 1)) + size > entry:
        return
    if m.vm[cpu + words.LAST_PT_WRITE_COUNT] < words.FLOOD_COUNT:
        report(a, au.P4, vcpu, gpa, size, entry, 0)

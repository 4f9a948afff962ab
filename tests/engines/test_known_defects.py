"""Defects that need a history: what the enumeration of single accesses cannot reach.

Each script leads into one of the defects of ``tests.engines.defects`` and around it. The kernels
that have it must show it, at the accesses its condition names and at no other.
"""

import pytest

from refault.catalogue import variant_from_golden_name
from tests import oracle
from tests.engines import entries
from tests.engines.defects import ALL, APRIL, LINUX_34, LINUX_35
from tests.engines.entries import (
    BITS_32,
    GIB,
    LONG,
    MIB,
    NX,
    NXE,
    PAE_PAGING,
    PG,
    PGE,
    PS,
    PSE,
    WP,
    A,
    D,
    Item,
    P,
    U,
    W,
    combinations,
)
from tests.engines.judge import Judge
from tests.engines.scripts import ACCESSES, Script

KERNELS = {LINUX_34: "base", APRIL: "apr", LINUX_35: "rel35"}
READ, WRITE, FETCH = (oracle.Access(kind, user=False) for kind in ("read", "write", "fetch"))
USER_READ, USER_WRITE, USER_FETCH = (
    oracle.Access(kind, user=True) for kind in ("read", "write", "fetch")
)
ALLOWED = P | W | U | A | D
#: The defects that show here only; each is asserted by the test that leads to it.
NEED_A_HISTORY = {
    "shared direct page",
    "shared upper table",
    "stored unchecked",
    "PSE is in no role",
    "PDPTE bits 5 and 6",
    "PDPTEs kept",
    "PAE uses long mode's page",
}
MODES = {paging.name: paging for paging in (LONG, PAE_PAGING, BITS_32)}


def assert_shown(script, name, kernels, *, walk=True):
    """Everything agrees, and the defect shows in these kernels and in no other."""
    seen = set()
    for kernel, golden_name in KERNELS.items():
        for bypass in (0, 1):
            judge = Judge(script, variant_from_golden_name(golden_name), kernel, bypass=bypass)
            verdict = judge.shadow()
            assert not verdict.difference_count, (kernel, bypass, verdict.differences)
            if walk:
                verdict_of_walk = judge.guest_walk()
                assert not verdict_of_walk.difference_count, verdict_of_walk.differences
            if verdict.shown[name]:
                seen.add(kernel)
    assert seen == set(kernels)


def script_of(tables, *, host_level=1, size=2 * GIB, vcpus=1):
    script = Script(slots=[(0, size, host_level)], vcpus=vcpus)
    for word, value in tables.words.items():
        script.poke(word, value)
    return script


def rights_at(paging, *levels):
    """All rights at some levels, everything allowed at the others."""
    spec = {level: entries.permissive(paging, level) for level in paging.shifts}
    for level in levels:
        spec[level] = [Item(P | A | D | f) for f in combinations(*entries.rights(paging))]
    return spec


def access_all(script, gvas, order=ACCESSES):
    for gva in gvas:
        for access in order:
            script.access(gva, access)


@pytest.mark.parametrize("mode", MODES)
def test_a_store_without_write_protection_leaves_a_writable_entry(mode):
    paging = MODES[mode]
    tables = entries.lay_out(paging, entries.Frames(2 * GIB), rights_at(paging, 2, 1))
    script = script_of(tables)
    script.boot(paging.registers(tables.cr3, wp=False, nxe=True, extra_cr4=PSE))
    access_all(script, tables.gvas, ACCESSES[::-1])
    off = script.vcpus[0].cr0
    for cr0 in (off | WP, off, off | WP):
        script.set_register("cr0", cr0)
        access_all(script, tables.gvas)
    script.end()
    assert_shown(script, "write protect off", {LINUX_34, APRIL})


@pytest.mark.parametrize("mode", MODES)
def test_nxe_pge_and_a_new_cr3_change_nothing_else(mode):
    """The registers of one vCPU change while its shadow pages live."""
    paging = MODES[mode]
    tables = entries.lay_out(paging, entries.Frames(2 * GIB), rights_at(paging, 2, 1))
    script = script_of(tables)
    script.boot(paging.registers(tables.cr3, wp=True, nxe=True, extra_cr4=PSE))
    efer, cr4 = script.vcpus[0].efer, script.vcpus[0].cr4
    for name, value in (
        ("efer", efer & ~NXE),
        ("cr4", cr4 | PGE),
        ("efer", efer),
        ("cr3", tables.cr3),
        ("cr4", cr4),
        ("efer", efer & ~NXE),
    ):
        script.set_register(name, value)
        access_all(script, tables.gvas)
    script.end()
    for kernel, golden_name in KERNELS.items():
        for bypass in (0, 1):
            judge = Judge(script, variant_from_golden_name(golden_name), kernel, bypass=bypass)
            for verdict in (judge.shadow(), judge.guest_walk()):
                assert not verdict.difference_count, (kernel, bypass, verdict.differences)
                assert not verdict.shown.keys() - {
                    "denied too early",
                    "fetch flag under bypass",
                    "fetch flag in 32-bit",
                }


@pytest.mark.parametrize("mode", MODES)
def test_two_large_entries_of_one_frame_share_their_shadow(mode):
    """F-X2: keyed by frame, by the rights above, and by whether the entry is dirty."""
    paging = MODES[mode]
    kinds = [
        P | PS | A | dirty | f for dirty in (0, D) for f in combinations(*entries.rights(paging))
    ]
    script = Script(slots=[(0, 2 * GIB, 1)])
    for a in kinds:
        for b in kinds:
            for access in ACCESSES:
                share_one_frame(script, paging, a, b, access)
    assert_shown(script, "shared direct page", {LINUX_34, APRIL})


def share_one_frame(script, paging, a, b, access):
    """Load through both entries, access through the second, then through the first."""
    spec = {level: entries.permissive(paging, level) for level in paging.shifts}
    frame = 256 * MIB
    spec[2] = [Item(a, frame), Item(b, frame)]
    tables = entries.lay_out(paging, entries.Frames(2 * GIB), spec)
    script.restore()
    for word, value in tables.words.items():
        script.poke(word, value)
    script.boot(paging.registers(tables.cr3, wp=True, nxe=True, extra_cr4=PSE))
    size = 1 << paging.shifts[2]
    first = tables.gvas[0] & ~(size - 1) | 5 << 12
    second = first + size
    script.access(first, READ)
    script.access(second, READ)
    script.access(second, access)
    reached = script.segment.demands[-1] >= 0
    is_shared = a & D == b & D
    if is_shared and reached:
        script.twins["shared direct page", first] = second
        spared = access.kind == "write" and not a & D and not is_denied(a, access)
        if spared:
            # The second's store has made the shadow writable: the first's needs no fault, so
            # nobody sets D in its entry.
            gpa = entry_of(script, first)
            script.segment.lost["shared direct page"] = {gpa & ~7: D << 8 * (gpa & 7)}
    script.access(first, access)
    script.end()
    script.twins.clear()


def entry_of(script, gva):
    """The address of the entry that maps ``gva``."""
    return oracle.walk(script.read, script.vcpus[0], gva, READ).entries[-1].gpa


def is_denied(flags, access):
    return (access.user and not flags & U) or (access.kind == "write" and not flags & W)


@pytest.mark.parametrize("lacking", entries.rights(LONG))
@pytest.mark.parametrize("access", ACCESSES)
def test_an_upper_table_is_shared_by_paths_of_different_rights(lacking, access):
    """F-X3: two entries of level 3 lead to one directory; only the first grants everything."""
    allowed = P | W | U | A
    less = allowed ^ lacking if lacking != NX else allowed | NX
    pml4, pdpt, directory, table, narrow_table = (MIB + 4096 * i for i in range(5))
    words = {
        pml4: pdpt | allowed,
        pdpt: directory | allowed,
        pdpt + 8: directory | less,
        directory: table | allowed,
        directory + 8: narrow_table | less,
        table + 8: 64 * MIB | ALLOWED,
        narrow_table + 8: 65 * MIB | ALLOWED,
    }
    script = Script(slots=[(0, 2 * GIB, 1)])
    for word, value in words.items():
        script.poke(word, value)
    wide, narrow = 0x1000, GIB | 0x1000
    outcomes = []
    for is_primed in (False, True):
        script.restore()
        script.boot(LONG.registers(pml4, wp=True, nxe=True))
        if is_primed:
            # Both paths make their directory's shadow while the walk's rights are the same.
            script.access(2 * MIB | wide, READ)
            script.access(2 * MIB | narrow, READ)
            script.twins["shared upper table", narrow] = wide
        script.access(wide, access)
        script.access(narrow, access)
        outcomes.append(script.segment.demands[-1])
        script.end()
    is_judged_by_right = min(outcomes) < 0
    assert_shown(script, "shared upper table", ALL if is_judged_by_right else ())


def test_an_entry_stored_for_one_vcpu_is_not_checked_for_another():
    """The table is shadowed for EFER.NXE on and off, so stores into it are emulated."""
    tables = entries.lay_out(LONG, entries.Frames(2 * GIB), rights_at(LONG))
    script = script_of(tables, vcpus=2)
    for vcpu, nxe in ((0, True), (1, False)):
        script.boot(LONG.registers(tables.cr3, wp=True, nxe=nxe), vcpu=vcpu)
    walked = oracle.walk(script.read, script.vcpus[0], tables.gvas[0], READ)
    table = walked.entries[-1].gpa & ~0xFFF
    base = tables.gvas[0] & ~0x1F_FFFF
    window = base | 9 << 12  # an address that maps the table itself
    script.poke(table + 8 * 9, table | P | W | A | D)
    for vcpu in (0, 1):
        script.access(tables.gvas[0], READ, vcpu=vcpu)
    script.end()
    for index, flags in ((20, ALLOWED | NX), (21, ALLOWED), (22, (ALLOWED | NX) ^ W)):
        script.access(window + 8 * index, WRITE, value=64 * MIB + 4096 * index | flags)
        script.stored_entries.add(table + 8 * index)
        script.end()
        for vcpu in (0, 1):
            for access in (USER_READ, USER_FETCH, USER_WRITE):
                script.access(base | index << 12, access, vcpu=vcpu)
        script.end()
    assert_shown(script, "stored unchecked", ALL, walk=False)


def test_a_page_is_used_as_before_after_pse_is_switched():
    """A directory entry is a 4 MiB page's with CR4.PSE on and a table's with PSE off."""
    frames = entries.Frames(2 * GIB)
    spec = {
        2: [Item(P | W | U | A | D | PS) for _ in range(4)],
        1: [Item(ALLOWED) for _ in range(8)],
    }
    tables = entries.lay_out(BITS_32, frames, spec)
    script = script_of(tables)
    script.boot(BITS_32.registers(tables.cr3, wp=True, nxe=False))
    off = script.vcpus[0].cr4
    half = len(tables.gvas) // 2
    access_all(script, tables.gvas[:half], [USER_READ, USER_WRITE])
    for cr4 in (off | PSE, off, off | PSE):
        script.set_register("cr4", cr4)
        access_all(script, tables.gvas, [USER_READ, USER_WRITE, READ])
    script.end()
    assert_shown(script, "PSE is in no role", ALL)


def pae_guest():
    """Two directories for the same addresses, and the PDPTEs that choose between them."""
    frames = entries.Frames(2 * GIB)
    tables = [entries.lay_out(PAE_PAGING, frames, rights_at(PAE_PAGING)) for _ in range(2)]
    script = Script(slots=[(0, 2 * GIB, 1)])
    for word, value in (tables[0].words | tables[1].words).items():
        script.poke(word, value)
    script.boot(PAE_PAGING.registers(tables[0].cr3, wp=True, nxe=True))
    return script, *tables


def replace_pdptes(script, tables, others):
    """Behind the processor's back, as a store by the guest would."""
    for quarter in range(4):
        script.poke(tables.cr3 + 8 * quarter, script.read(others.cr3 + 8 * quarter, 8))


def test_pdptes_stay_cached_until_the_manual_says_they_are_loaded():
    script, tables, others = pae_guest()
    gvas = [quarter << 30 | tables.gvas[0] for quarter in range(4)]
    access_all(script, gvas)
    cr0, cr4 = script.vcpus[0].cr0, script.vcpus[0].cr4
    kept = 0
    for name, value in (
        ("cr0", cr0 & ~WP),  # loads nothing
        ("cr4", cr4 | 1 << 9),  # OSFXSR: nothing either
        ("efer", 0),
        ("efer", NXE),
        ("cr4", cr4 | PGE),
        ("cr4", cr4 | PGE | PSE),
        ("cr3", tables.cr3),
        ("cr0", cr0 & ~PG),
    ):
        script.end()
        before = script.vcpus[0].pdptes
        replace_pdptes(script, tables, others)
        script.set_register(name, value)
        if name == "cr0" and not value & PG:
            script.set_register("cr0", cr0)
        access_all(script, gvas)
        kept += script.vcpus[0].pdptes == before
    script.end()
    assert kept
    assert_shown(script, "PDPTEs kept", ())


def test_cache_disable_loads_the_pdptes_on_a_processor_only():
    script, tables, others = pae_guest()
    gvas = [quarter << 30 | tables.gvas[0] for quarter in range(4)]
    access_all(script, gvas)
    script.end()
    replace_pdptes(script, tables, others)
    script.set_register("cr0", script.vcpus[0].cr0 | 1 << 30)
    access_all(script, gvas)
    script.end()
    assert_shown(script, "PDPTEs kept", ALL)


def test_pdptes_with_reserved_bits_are_refused():
    script, tables, others = pae_guest()
    third = others.cr3 + 16
    good = script.read(third, 8)
    for bit in (1, 2, *range(3, 12), *range(40, 64)):
        for present in (0, P):
            script.end()
            script.poke(third, (good & ~P | present) ^ 1 << bit)
            script.set_register("cr3", others.cr3)
            # Where a kernel accepts what it should not, both go on from the same state.
            script.poke(third, good)
            script.boot(PAE_PAGING.registers(tables.cr3, wp=True, nxe=True))
            access_all(script, tables.gvas[:1])
    script.end()
    assert_shown(script, "PDPTE bits 5 and 6", ALL)


def test_one_table_serves_several_modes_in_turn():
    """The last two levels of PAE and long mode are one format, up to bits 52 to 62."""
    frames = entries.Frames(2 * GIB)
    spec = rights_at(PAE_PAGING, 2)
    spec[1] = [Item(ALLOWED ^ f) for f in combinations(W, U)]
    spec[1] += [Item(ALLOWED | 1 << bit) for bit in range(52, 64)]
    tables = entries.lay_out(PAE_PAGING, frames, spec)
    directory = tables.words[tables.cr3] & ~P
    pml4, pdpt = frames.table(), frames.table()
    tables.words |= {pml4: pdpt | P | W | U | A}
    tables.words |= {pdpt + 8 * i: directory | P | W | U | A for i in range(4)}
    script = script_of(tables)
    for nxe in (True, False):
        for order in (ACCESSES, ACCESSES[::-1]):
            for first, second in ((PAE_PAGING, LONG), (LONG, PAE_PAGING)):
                script.restore()
                for paging in (first, second, first):
                    cr3 = pml4 if paging is LONG else tables.cr3
                    script.boot(paging.registers(cr3, wp=True, nxe=nxe))
                    access_all(script, tables.gvas, order)
                    script.end()
    assert_shown(script, "PAE uses long mode's page", {LINUX_35})

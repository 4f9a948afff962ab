"""The architecture as judge: the simulator against an oracle that knows only the manuals.

Every combination of the flags of an entry, at every level of every paging mode, meets every
kind of access under every setting of the registers that matter; the guest walk, the shadow
result and memory afterwards must be what ``tests.oracle`` says. Where the old kernels are known
to differ (``tests.engines.defects``) they must differ in just that way, and must be seen to.
"""

from collections import Counter
from functools import cache

import pytest

from refault.catalogue import GOLDEN, Parameters, variant_from_golden_name
from tests import oracle
from tests.engines import defects, entries, test_known_defects
from tests.engines.defects import APRIL, LINUX_34, LINUX_35
from tests.engines.entries import BITS_32, GIB, LONG, NO_PAGING, PAE_PAGING, PGE, PSE
from tests.engines.judge import Judge
from tests.engines.scripts import ACCESSES, Script

#: The paging modes that are simulated. One that is not is taken out here, and nowhere else.
MODES = (LONG, PAE_PAGING, BITS_32, NO_PAGING)
#: One variant of each kernel; its patches are judged on fewer accesses further down.
KERNELS = {LINUX_34: "base", APRIL: "apr", LINUX_35: "rel35"}
CR4S = (0, PSE, PGE, PSE | PGE)
EITHER = (False, True)
SUPERVISOR_FIRST = ACCESSES[::-1]


def memory_for(paging, spec, host_level=1):
    """Slots that hold what a spec asks for; a 32-bit guest has memory above 4 GiB as well."""
    giant = 3 in spec and any(item.flags & entries.PS for item in spec[3])
    size = 60 * GIB if giant else 4 * GIB if paging is BITS_32 else 2 * GIB
    slots = [(0, size, host_level)]
    return [*slots, (4 * GIB, 2 * GIB, host_level)] if paging is BITS_32 else slots


def every_access(paging, spec, frames, *, orders, cr4s, host_level=1, processor=oracle.INTEL):
    """Access every address of the tables of ``spec`` under every setting of the registers.

    Each of ``orders`` is the kinds of access one address meets before the next one does.
    Before each, tables are as they were and no shadow page is left.
    """
    tables = entries.lay_out(paging, frames, spec)
    script = Script(slots=memory_for(paging, spec, host_level), processor=processor)
    for word, value in tables.words.items():
        script.poke(word, value)
    for cr4 in cr4s:
        for wp in EITHER:
            for nxe in EITHER:
                for order in orders:
                    script.restore()
                    script.boot(paging.registers(tables.cr3, wp=wp, nxe=nxe, extra_cr4=cr4))
                    for gva in tables.gvas:
                        for access in order:
                            script.access(gva, access)
                    script.end()
    return script


def one_by_one(paging, spec, frames, **given):
    """Each access meets fresh tables, so that what it does to A and D is seen by itself."""
    alone = [[access] for access in ACCESSES]
    return every_access(paging, spec, frames, orders=alone, cr4s=CR4S, **given)


def in_turn(paging, spec, frames, **given):
    """All kinds of access one after the other, user first and then supervisor first."""
    orders = (ACCESSES, SUPERVISOR_FIRST)
    return every_access(paging, spec, frames, orders=orders, cr4s=(PSE,), **given)


def without_paging(host_level):
    """Addresses at the edges of pages, memory and the four gigabytes, in a non-paging guest."""
    size = GIB + 5 * entries.MIB
    script = Script(slots=[(0, size, host_level)])
    edges = (0, 0x1000, 2 << 20, 4 << 20, GIB - 8, GIB, size - 8, size, 3 * GIB, 4 * GIB - 8)
    for efer in (0, entries.NXE, entries.LME):
        for cr4 in (*CR4S, entries.PAE):
            for wp in EITHER:
                script.restore()
                script.boot(
                    NO_PAGING.registers(0, wp=wp, nxe=False, extra_cr4=cr4) | {"efer": efer}
                )
                for gva in edges:
                    for access in ACCESSES:
                        script.access(gva, access)
                script.end()
    return script


def cases():
    """Name → how to write the script."""
    named = {}
    for paging in MODES:
        name = paging.name
        if paging is NO_PAGING:
            for host_level in (1, 2):
                named[f"{name}, host level {host_level}"] = (without_paging, host_level)
            continue
        for level in paging.shifts:
            if level == 1 or level in paging.page_levels:
                for host_level in (1, 3) if level > 1 else (1,):
                    named[f"{name}: rights above level {level}, host level {host_level}"] = (
                        rights_script,
                        paging,
                        level,
                        host_level,
                    )
                named[f"{name}: A and D above level {level}"] = (use_script, paging, level)
            named[f"{name}: entries of level {level}"] = (entry_script, paging, level)
            named[f"{name}: bits of level {level}"] = (bit_script, paging, level)
            for upper in paging.shifts:
                if upper > level:
                    named[f"{name}: levels {upper} and {level}"] = (
                        pair_script,
                        paging,
                        upper,
                        level,
                    )
    return named


def frames_for(paging, spec):
    return entries.Frames(memory_for(paging, spec)[0][1])


def rights_script(paging, level, host_level):
    spec = entries.every_right(paging, level)
    return in_turn(paging, spec, frames_for(paging, spec), host_level=host_level)


def use_script(paging, level):
    spec = entries.every_trace_of_use(paging, level)
    return one_by_one(paging, spec, frames_for(paging, spec))


def entry_script(paging, level):
    spec = entries.every_entry(paging, level)
    return one_by_one(paging, spec, frames_for(paging, spec))


def bit_script(paging, level, processor=oracle.INTEL):
    frames = entries.Frames(60 * GIB)
    spec = entries.every_bit(paging, frames, level)
    frames.size = memory_for(paging, spec)[0][1]
    return one_by_one(paging, spec, frames, processor=processor)


def pair_script(paging, upper, lower):
    spec = entries.every_pair(paging, upper, lower)
    return every_access(paging, spec, frames_for(paging, spec), orders=[ACCESSES], cr4s=(0, PSE))


CASES = cases()


@cache
def verdicts(name):
    """What every kernel makes of a script, with and without bypass_guest_pf."""
    write, *arguments = CASES[name]
    script = write(*arguments)
    found = {}
    for kernel, golden_name in KERNELS.items():
        variant = variant_from_golden_name(golden_name)
        for bypass in (0, 1):
            judge = Judge(script, variant, kernel, bypass=bypass)
            found[kernel, bypass] = judge.shadow(), judge.guest_walk()
    return found


@pytest.mark.parametrize("name", CASES)
def test_guest_walk_and_shadow_result_are_the_architectures(name):
    for (kernel, bypass), (shadow, walk) in verdicts(name).items():
        for verdict in (shadow, walk):
            assert verdict.judged > 0
            assert not verdict.difference_count, (kernel, bypass, verdict.differences)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_known_defect_shows(kernel):
    """In the enumeration, or by a script that leads to it, which asserts so itself."""
    shown = Counter()
    for name in CASES:
        for bypass in (0, 1):
            shown += verdicts(name)[kernel, bypass][0].shown
    expected = {defect.name for defect in defects.known() if kernel in defect.kernels}
    assert shown.keys() == expected - test_known_defects.NEED_A_HISTORY


@pytest.mark.parametrize("level", [4, 3])
def test_the_kernels_reserve_what_amd_reserves(level):
    """An AMD processor reserves bit 8 where they do, so nothing is left to blame."""
    script = bit_script(LONG, level, oracle.AMD)
    for kernel, golden_name in KERNELS.items():
        judge = Judge(script, variant_from_golden_name(golden_name), kernel)
        for verdict in (judge.shadow(), judge.guest_walk()):
            assert not verdict.difference_count, (kernel, verdict.differences)
            assert not verdict.shown


def kernel_of(golden_name):
    if golden_name == "rel35":
        return LINUX_35
    return APRIL if golden_name.startswith("apr") else LINUX_34


@cache
def short_script(name):
    """Rights at the last two levels, in turn: what a patch could spoil for one access."""
    paging = next(mode for mode in MODES if mode.name == name)
    spec = {level: entries.permissive(paging, level) for level in paging.shifts}
    for level in (2, 1):
        spec[level] = entries.every_right(paging, 1)[level]
    return in_turn(paging, spec, frames_for(paging, spec))


@pytest.mark.parametrize("golden_name", GOLDEN)
@pytest.mark.parametrize("mode", [mode.name for mode in MODES if mode.shifts])
def test_no_patch_changes_what_an_access_comes_to(mode, golden_name):
    for bypass in (0, 1):
        variant = variant_from_golden_name(golden_name)
        judge = Judge(short_script(mode), variant, kernel_of(golden_name), bypass=bypass)
        for verdict in (judge.shadow(), judge.guest_walk()):
            assert not verdict.difference_count, verdict.differences


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mode", [mode.name for mode in MODES if mode.shifts])
def test_a_tlb_changes_no_outcome(mode, kernel):
    """Where the manuals demand a flush there is one: each phase begins with new registers."""
    variant = variant_from_golden_name(KERNELS[kernel], Parameters(tlb=1))
    verdict = Judge(short_script(mode), variant, kernel).shadow()
    assert not verdict.difference_count, verdict.differences


def test_the_judge_sees_a_kernel_that_is_not_the_one_it_was_told():
    """Each of the defects that set the kernels apart is a difference if it is not expected."""
    judged = {
        ("rel35", LINUX_34, "PAE: rights above level 1, host level 1"),
        ("base", LINUX_35, "long: rights above level 3, host level 3"),
        ("apr", LINUX_34, "long: levels 2 and 1"),
        ("base", APRIL, "PAE: levels 2 and 1"),
        ("base", APRIL, "32-bit: bits of level 2"),
    }
    for golden_name, told, name in judged:
        write, *arguments = CASES[name]
        judge = Judge(write(*arguments), variant_from_golden_name(golden_name), told)
        assert judge.shadow().difference_count, (golden_name, told, name)


def test_the_judge_sees_a_wrong_address_a_wrong_code_and_a_wrong_flag():
    """A script that demands other things than the oracle did is not satisfied."""
    script = use_script(BITS_32, 1)
    segment = script.segments[2]
    places = [place for place, demand in enumerate(segment.demands) if demand >= 0]
    segment.demands[places[0]] += 8
    segment.demands[places[1]] = -1 - 2
    word = next(iter(segment.memory))
    segment.memory[word] ^= 0x40
    verdict = Judge(script, variant_from_golden_name("apr"), APRIL).guest_walk()
    assert verdict.difference_count == 3
    assert sum("memory" in text for text in verdict.differences) == 1

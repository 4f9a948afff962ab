"""What no guest should do, one thing at a time: nothing leaves its place, everything ends."""

import re
from pathlib import Path

import pytest

from refault.catalogue import PatchSet, resolve, variant_from_golden_name
from refault.engines.shadow.state import machine as machines
from refault.engines.shadow.state import words
from refault.errors import TraceCorrupt
from refault.replay import outcomes as out
from refault.replay import x86
from refault.replay.compile.jit import INTERPRETED
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import EventKind
from tests.engines.guests import A, D, Guest, P, U, W
from tests.engines.hosts import Host
from tests.engines.traffic import VARIANTS, random_guest

BASE = resolve(PatchSet())
NONPAGING = {"cr0": 0x33, "cr4": 0, "efer": 0}
PAE = {"cr4": 0x20, "efer": 0}


def host_after(guest, variant=BASE):
    host = Host(variant, guest.header(), record_all=True)
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
    return host


def last_outcomes(guest, count=1, variant=BASE):
    """Code, address and value of the last operations that had an outcome."""
    records = [record for part in host_after(guest, variant).notes.findings.raw for record in part]
    return [tuple(int(word) for word in record[1:4]) for record in records[-count:]]


def long_guest():
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {i: (100 + i) << 12 | P | W | U | A | D for i in range(8)})
    return guest.boot(0x1000)


# --- Stores that do not stay within an aligned word -------------------------------------------


@pytest.mark.parametrize(("size", "offset"), [(8, 4), (8, 1), (4, 6), (4, 2), (2, 7), (2, 3)])
def test_a_store_across_words_is_refused_by_the_reader_and_kept_inside_by_the_kernels(size, offset):
    for place in (0x10, 0xFF8):  # the next word lies in the same page, and in the next one
        guest = long_guest().store(place, -1).store(place + 8, 5)
        guest.store(place + offset, 0, size=size).load(place).load(place + 8)
        word, following = last_outcomes(guest, 2)
        before = (1 << 8 * offset) - 1
        assert word[2] & before == (0 if size == 8 else before)  # a word is stored whole
        assert word[2] >> 8 * offset & 0xFF == 0
        assert following[2] == 5
        with pytest.raises(TraceCorrupt, match=f"its address is not a multiple of {size}"):
            replay(guest.trace(), [BASE])


@pytest.mark.parametrize("base", ["v2.6.34-pre", "kvm-2010-04", "v2.6.35.6"])
@pytest.mark.parametrize(("size", "offset"), [(8, 0xFFC), (8, 0xFFF), (4, 0xFFE), (2, 0xFFF)])
def test_an_emulated_store_across_a_table_s_end_drops_that_table_and_leaves_the_next(
    base, size, offset
):
    """Table 3 is written through PT[16]; frame 5, mapped by PT[17], stands for the next page."""
    guest = long_guest().poke(0x4080, 3 << 12 | P | W | U | A | D)
    guest.poke(0x4088, 5 << 12 | P | W | U | A | D).load(0)
    guest.store(0x10000 + offset, -1, size=size).load(0x11000)
    host = host_after(guest, resolve(PatchSet(base=base)))
    assert host.counters()["mmu_flooded"] == 1
    assert [int(word) for word in host.notes.findings.raw[-1][-1][1:4]] == [out.OK, 0x5000, 0]


# --- Addresses and registers beyond what the mode has -----------------------------------------


def test_a_linear_address_without_paging_has_32_bits():
    for gva in (0x5000, 0x1_0000_5000, -0xFFFF_B000, (1 << 63) + 0x5000):
        guest = Guest(pages=1024).add(EventKind.OP_MEM, flags=1, aux=1, a=1 << 20, b=1024)
        guest.boot(0, **NONPAGING).store(0x5008, 9).load(gva).load(gva + 8)
        assert last_outcomes(guest, 2) == [(out.OK, 0x5000, 0), (out.OK, 0x5008, 9)]


@pytest.mark.parametrize("registers", [PAE, {"cr4": 0x10, "efer": 0}])
def test_higher_bits_of_a_linear_address_mean_nothing_to_32_bit_tables(registers):
    guest = Guest(pages=1024)
    guest.poke(0x1000, 0x2001 if registers is PAE else 0x2007)
    guest.poke(0x2000, 0x3007 if registers is PAE else 0x5007).poke(0x3000, 0x5007)
    guest.boot(0x1000, **registers)
    for gva in (0, 1 << 32, 1 << 62, -(1 << 32)):
        assert last_outcomes(guest.load(gva)) == [(out.OK, 0x5000, 0)]


def test_a_vcpu_started_with_more_than_32_bits_of_cr4_has_32():
    vm = host_after(Guest(pages=64).boot(0x1000, cr4=0xFF_8000_0020)).machine.vm
    assert vm[words.CPUS + words.CR4] == 0x8000_0020


@pytest.mark.parametrize("cr3", [1 << 22, 1 << 40, 1 << 52, 1 << 63, (1 << 64) - 32, 0x3FF000])
@pytest.mark.parametrize("registers", [{}, PAE, {"cr4": 0x10, "efer": 0}])
def test_cr3_may_point_anywhere(cr3, registers):
    """Frame 0x3ff is the last: a root of nothing. Beyond it is no root, or in PAE no PDPTE."""
    guest = Guest(pages=1024).boot(cr3, **registers).load(0)
    inside = cr3 == 0x3FF000 or not cr3 & 0xFFFFFFFFFF000 or registers is PAE
    assert last_outcomes(guest)[0][0] == (out.PF if inside else out.TRIPLE)
    written = Guest(pages=1024).boot(0x1000, **registers).cr3(cr3)
    if cr3 != 0x3FF000:
        assert last_outcomes(written)[0][0] == out.GP


@pytest.mark.parametrize(
    ("pdpte", "on_write", "on_use"),
    [
        (P, out.PF, out.PF),  # frame 0, which maps nothing
        (1 << 40 | P, out.GP, out.TRIPLE),  # beyond 40 bits
        (1 << 63 | P, out.GP, out.PF),
        (P | W, out.GP, out.PF),
        (1 << 39 | P, out.TRIPLE, out.TRIPLE),  # no memory there
        (0x400001, out.TRIPLE, out.TRIPLE),
    ],
)
def test_a_pdpte_may_hold_anything(pdpte, on_write, on_use):
    """A CR3 write refuses reserved bits. A vCPU's very first boot knows none, and takes all."""
    written = Guest(pages=1024).poke(0x1020, pdpte).boot(0x1000, **PAE).cr3(0x1020)
    if on_write == out.GP:
        assert last_outcomes(written)[0][0] == out.GP
    else:
        assert last_outcomes(written.load(0))[0][0] == on_write
    booted = Guest(pages=1024).poke(0x1000, pdpte).boot(0x1000, **PAE).load(0)
    assert last_outcomes(booted)[0][0] == on_use


# --- Everything ends --------------------------------------------------------------------------


@pytest.mark.parametrize("vcpus", [1, 3])
@pytest.mark.parametrize("registers", [NONPAGING, PAE, {"cr4": 0x10, "efer": 0}, {}])
@pytest.mark.parametrize("name", ["base", "series", "apr_series", "rel35"])
def test_a_page_limit_below_what_the_roots_need_ends(registers, vcpus, name):
    """Either the unsigned count of free pages wraps, and nothing is reclaimed, or it is endless."""
    for limit in range(12):
        guest = Guest(vcpus, pages=1024)
        guest.table(1, {i: (2 + i) << 12 | P for i in range(4)})
        for table in range(2, 6):
            guest.table(table, {0: 6 << 12 | P | W | U, 1: 7 << 12 | P | W | U})
        guest.add(EventKind.OP_NR_PAGES, a=limit)
        for vcpu in range(vcpus):
            guest.boot(0x1000, vcpu=vcpu, **registers)
        for gva in (0, 0x1000, 1 << 30, 1 << 31, 3 << 30):
            for vcpu in range(vcpus):
                guest.load(gva, vcpu=vcpu, user=0)
        host = host_after(guest, variant_from_golden_name(name))
        assert host.stopped == (host.notes.findings.stopped is not None)
        if host.stopped:
            assert host.notes.findings.stopped.kind == "endless-zap"
        else:
            assert host.operation_count == len(guest.rows) - vcpus


def test_no_operation_uses_up_more_than_is_reserved_for_it():
    """Nodes, pages and frames, operation by operation; the first fault of a guest takes most."""
    most = dict.fromkeys(("pages", "links", "frames"), 0)
    for seed in range(60):
        guest = random_guest(seed)
        host = Host(VARIANTS[seed % len(VARIANTS)], guest.header())
        for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
            for row in range(count):
                before = _left(host)
                host._run(ops, row, row + 1)
                if host.stopped:
                    break
                used = {name: before[name] - left for name, left in _left(host).items()}
                most = {name: max(most[name], used[name]) for name in most}
    assert 4 <= most["pages"] <= machines.PAGES_PER_OPERATION
    assert 2 <= most["links"] <= machines.LINKS_PER_OPERATION
    assert most["frames"] == machines.FRAMES_PER_OPERATION == 1


def _left(host):
    """What is free, as if nothing had been added meanwhile."""
    m = host.machine
    return {
        "pages": int(m.vm[words.PAGE_FREE_COUNT]) - len(m.page) // words.PAGE_WORDS,
        "links": int(m.vm[words.LINK_FREE_COUNT]) - len(m.link) // words.LINK_WORDS,
        "frames": -int(m.vm[words.MEM_NEXT]) // x86.ENTRIES,
    }


@pytest.mark.skipif(INTERPRETED, reason="walks 67 million links")
def test_marking_ancestors_on_more_paths_than_anybody_can_walk_breaks_off():
    """512 links at each of three levels are 134 million paths from one table to its root.

    The real kernel of 2010 would walk them all, and again at every sync, under its lock.
    """
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, dict.fromkeys(range(512), (table + 1) << 12 | P | W | U | A))
    guest.table(4, {0: 5 << 12 | P | U, 1: 4 << 12 | P | W | U | A | D}).boot(0x1000)
    for shift in (39, 30, 21):
        for i in range(512):
            guest.load(i << shift)
    host = host_after(guest.load(0x1000))
    assert host.notes.findings.stopped.kind == "endless-walk"
    assert host.counters()["parent_marks"] == 1 << 26
    stopping_early = host_after(guest, variant_from_golden_name("p3"))
    assert not stopping_early.stopped
    # Every link of the lowest level leads to all of the next; only new marks lead on from there.
    assert stopping_early.counters()["parent_marks"] == 512 + 512**2 + 512**2


# --- One place for each word ------------------------------------------------------------------


def test_no_two_words_of_a_host_share_a_place():
    """Also after a merge of two branches that each took the next free one."""
    source = Path(words.__file__).read_text()
    drawn = source[source.index("# --- vm[]: one host") : source.index("\nHASH = ")]
    places = re.findall(r"^(\w+) = (\d+)\b", drawn, re.MULTILINE)
    numbers = [int(number) for name, number in places if name != "COUNTER_COUNT"]
    assert len(numbers) > 60
    assert sorted(set(numbers)) == sorted(numbers)

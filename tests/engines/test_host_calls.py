"""A range taken away, a dirty log read and switched off, registers set from outside.

Counters are derived by hand from the specification; what the guest sees is held against the
architecture's walk.
"""

import pytest

from refault.catalogue import PatchSet, resolve
from refault.engines import get_engine
from refault.engines.base import Watch
from refault.engines.shadow.state import words
from refault.replay import outcomes as out
from refault.replay.budget import Budget
from refault.replay.lowering.rows import operations_of
from refault.trace import EventKind
from tests.engines.guests import LONG, A, D, Guest, P, U, W
from tests.engines.host_calls import CASES, DATA, FULL, four_pages, get_log, log, log_off, sregs
from tests.engines.host_calls import unmap_range as range_of
from tests.engines.test_host_events import changes, host_after

BASE = resolve(PatchSet())
V35 = resolve(PatchSet(base="v2.6.35.6"))
WALK = resolve(PatchSet("walk"))
BOTH = pytest.mark.parametrize("variant", [BASE, V35])


def answers(guest, variant=BASE):
    """Outcome, answer and value of every operation that leaves a record."""
    raw = host_after(guest, variant).notes.findings.raw
    return [tuple(int(word) for word in row[1:4]) for part in raw for row in part]


# --- a range ------------------------------------------------------------------------------------


@BOTH
def test_a_range_has_one_flush_where_its_frames_have_one_each(variant):
    def one_by_one(guest):
        for frame in range(DATA, DATA + 4):
            guest.add(EventKind.OP_UNMAP, a=frame)
        return guest

    whole = range_of(four_pages(), DATA, 4)
    assert changes(four_pages(), whole, variant) == {"flush_calls": 1, "remote_tlb_flush": 1}
    # Of four flushes the host interrupts the vCPU for the first: the others find it asked.
    apart = one_by_one(four_pages())
    assert changes(four_pages(), apart, variant) == {"flush_calls": 4, "remote_tlb_flush": 1}
    for guest in (whole, apart):
        for page in range(4):
            guest.load(page << 12)
    assert changes(range_of(four_pages(), DATA, 4), whole, variant) == {
        "exits": 4,
        "pf_fixed": 4,
        "hw_flush": 1,
    }


@pytest.mark.parametrize(
    ("first", "pages", "found"),
    [(0, 1 << 24, 1), (DATA + 3, 1, 1), (DATA + 4, 500, 0), (1024, 1 << 20, 0), (0, DATA, 1)],
)
def test_a_range_reaches_the_frames_that_lie_in_memory_and_no_others(first, pages, found):
    """The last one: four pages are tables, of which none is mapped, and 5 maps a large page."""
    guest = four_pages().table(3, {1: FULL | 0x80}).load(1 << 21)
    after = range_of(guest, first, pages)
    assert answers(after)[-1] == (out.RETURN, found, 0)


def test_a_range_goes_over_slots_and_the_holes_between_them():
    guest = four_pages().add(EventKind.OP_MEM, flags=1, aux=1, a=4096, b=64)
    guest.poke(0x4020, 4100 << 12 | FULL).load(4 << 12)
    before = host_after(guest)
    after = host_after(range_of(guest, DATA, 1 << 14))
    assert sum(map(bool, mapped(before))) == 5
    assert sum(map(bool, mapped(after))) == 0
    assert after.notes.answers()["unmap_found"] == 1


def mapped(host):
    """The reverse map of every frame of both slots."""
    vm, frame = host.machine.vm, host.machine.frame
    for slot in (words.SLOTS, words.SLOTS + words.SLOT_WORDS):
        first = vm[slot + words.SLOT_FRAMES]
        for i in range(vm[slot + words.SLOT_PAGES]):
            yield int(frame[first + i * words.FRAME_WORDS])


# --- the dirty log -------------------------------------------------------------------------------


@BOTH
def test_a_log_that_is_switched_off_protects_the_slot_once_more_and_zaps_nothing(variant):
    guest = log(four_pages()).store(0).store(0x1000)
    assert changes(guest, log_off(log(four_pages()).store(0).store(0x1000)), variant) == {
        "flush_calls": 1,
        "remote_tlb_flush": 1,
    }
    again = log_off(log(four_pages()).store(0).store(0x1000)).store(0)
    assert changes(log_off(log(four_pages()).store(0).store(0x1000)), again, variant) == {
        "exits": 1,
        "pf_fixed": 1,
        "hw_flush": 1,
    }


def test_large_pages_come_back_with_the_next_fault_after_the_log():
    def guest():
        made = Guest(pages=2048, host_level=2)
        for table in (1, 2):
            made.table(table, {0: (table + 1) << 12 | P | W | U})
        made.table(3, {i: i << 21 | FULL | 0x80 for i in range(4)})
        return log(made.boot(0x1000)).load(2 << 21)

    # Under a log a page of 2 MiB is mapped by a direct page of small ones, which stays until then.
    assert host_after(guest().load(3 << 21)).counters()["lpages"] == 0
    assert host_after(log_off(guest()).load(2 << 21)).counters()["lpages"] == 0
    assert host_after(log_off(guest()).load((2 << 21) + 0x1000)).counters()["lpages"] == 1
    assert host_after(log_off(guest()).load(3 << 21)).counters()["lpages"] == 1


@BOTH
def test_a_read_log_names_the_frames_and_protects_only_if_one_is_dirty(variant):
    guest = log(four_pages())
    # The walk of a store sets A and D in the tables, which lie in the slot too; here they are set.
    assert answers(get_log(guest), variant)[-1] == (out.RETURN, 0, 0)
    assert changes(log(four_pages()), get_log(log(four_pages())), variant) == {}
    count, content = answers(get_log(log(four_pages()).store(0x2000)), variant)[-1][1:]
    assert (count, content) == (1, DATA + 2 + 1)
    read = get_log(log(four_pages()).store(0x2000))
    assert changes(log(four_pages()).store(0x2000), read, variant) == {
        "flush_calls": 1,
        "remote_tlb_flush": 1,
    }
    assert answers(get_log(read), variant)[-1] == (out.RETURN, 0, 0)
    assert answers(get_log(read.store(0x2000).store(0)), variant)[-1][1] == 2


@BOTH
def test_what_the_host_writes_for_the_guest_is_dirty_and_a_forced_write_is_not(variant):
    guest = log(four_pages().table(4, {8: 3 << 12 | FULL}))
    # The page of directory entries is a shadowed table of level 2: the store is emulated.
    assert answers(get_log(guest.store(0x8000 + 8 * 9, 0)), variant)[-1] == (out.RETURN, 1, 4)
    forced = four_pages(cr0=LONG["cr0"] & ~0x10000)
    forced.poke(0x4000, DATA << 12 | P | U | A | D)
    assert answers(get_log(log(forced).store(0, user=0)), variant)[-1] == (out.RETURN, 0, 0)


def test_a_table_is_dirty_once_the_host_sets_a_or_d_in_it():
    def clean():
        return log(four_pages().poke(0x4000, DATA << 12 | P | W | U))

    assert answers(get_log(clean().load(0)))[-1] == (out.RETURN, 1, 5)
    assert answers(get_log(clean().store(0)))[-1][1] == 2


def test_a_log_that_is_off_has_nothing_to_read_and_begins_empty_again():
    off = log_off(log(four_pages()).store(0))
    assert host_after(get_log(off)).notes.skipped() == {"unsupported": 1}
    again = log(log_off(log(four_pages()).store(0)))
    assert answers(get_log(again))[-1] == (out.RETURN, 0, 0)
    # The older event protects whatever is dirty, and begins a log anew that is on.
    read = log(four_pages()).store(0).add(EventKind.OP_DIRTYLOG)
    assert answers(get_log(read))[-1] == (out.RETURN, 0, 0)
    for kind in (EventKind.OP_LOG_OFF, EventKind.OP_GET_DIRTY_LOG):
        guest = four_pages().add(kind, aux=1).add(kind, aux=36)
        assert host_after(guest).notes.skipped() == {"outside-memory": 2}


# --- registers set from outside -------------------------------------------------------------------


@BOTH
def test_registers_that_stay_as_they_are_reset_nothing(variant):
    assert changes(four_pages(), sregs(four_pages()).load(0), variant) == {}


@BOTH
def test_another_cr3_is_another_root_and_neither_exits_nor_flushes_are_counted(variant):
    guest = four_pages().table(9, {0: 2 << 12 | FULL})
    there = sregs(four_pages().table(9, {0: 2 << 12 | FULL}), 0x9000)
    assert changes(guest, there, variant) == {}
    assert changes(guest, there.load(0), variant) == {
        "mmu_cache_miss": 1,
        "n_free": -1,
        "active": 1,
        "exits": 1,
        "pf_fixed": 1,
    }


def roles(guest, variant):
    host = host_after(guest, variant)
    return sorted(int(page[1]) for page in host.page_set())


def test_what_efer_nx_decides_of_a_role_stays_until_the_guest_writes_efer():
    with_nx = {"efer": LONG["efer"] | 0x800}
    set_outside = sregs(four_pages(), **with_nx).load(0)
    assert roles(set_outside, BASE) == roles(four_pages(), BASE)
    written = sregs(four_pages(), **with_nx).add(EventKind.OP_EFER, a=0xD00).load(0)
    assert len(roles(written, BASE)) == 2 * len(roles(four_pages(), BASE))
    # Nor does a write to another register say it anew.
    other = sregs(four_pages(), **with_nx).add(EventKind.OP_CR0, a=LONG["cr0"]).load(0)
    assert roles(other, BASE) == roles(four_pages(), BASE)


def test_cr4_pge_of_a_role_stays_likewise_where_roles_have_it():
    april = resolve(PatchSet(base="kvm-2010-04"))
    with_pge = {"cr4": LONG["cr4"] | 0x80}
    assert roles(sregs(four_pages(), **with_pge).load(0), april) == roles(four_pages(), april)
    written = sregs(four_pages(), **with_pge).add(EventKind.OP_CR4, a=0xA0).load(0)
    assert len(roles(written, april)) == 2 * len(roles(four_pages(), april))


def test_cr0_wp_makes_another_role_in_2_6_35_alone():
    without = {"cr0": LONG["cr0"] & ~0x10000}
    for variant, twice in ((BASE, 1), (V35, 2)):
        found = roles(sregs(four_pages(), **without).load(0), variant)
        assert len(found) == twice * len(roles(four_pages(), variant))


def test_under_pae_the_entries_of_the_root_are_loaded_whatever_else_stays():
    registers = {"cr4": 0x20, "efer": 0}

    def guest():
        made = Guest(pages=1024).table(1, {0: 2 << 12 | P}).table(2, {0: 3 << 12 | FULL})
        made.table(3, {0: DATA << 12 | FULL, 1: 1 << 12 | FULL})
        made.table(6, {0: 7 << 12 | FULL}).table(7, {0: DATA + 1 << 12 | FULL})
        made.boot(0x1000, **registers).load(0)
        return made.poke(0x1000, 6 << 12 | P)  # behind the processor's back

    assert answers(guest().load(0))[-1][1] == DATA << 12
    assert answers(sregs(guest(), **registers).load(0))[-1][1] == DATA + 1 << 12


def test_registers_of_a_vcpu_that_never_ran_are_not_set():
    guest = sregs(four_pages(vcpus=2, boots=1), vcpu=1)
    assert host_after(guest).notes.skipped() == {"vcpu-not-booted": 1}


# --- against the architecture --------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_outcome_of_every_access_is_the_architectures(name):
    """Answers to the host apart: the architecture has no host."""
    seen = []
    for variant in (BASE, V35, WALK):
        guest = CASES[name]()
        open_host = get_engine(variant.engine).open
        host = open_host(variant, guest.header(), Budget(), Watch(record_all=True))
        for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
            host.execute(ops, count)
        rows = [row for part in host.notes.findings.raw for row in part.tolist()]
        seen.append([row[:4] for row in rows if row[1] != out.RETURN])
    assert seen[0] == seen[1] == seen[2]

"""What the host does to a guest's memory, with counters derived by hand."""

import io

import pytest

from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.state import words
from refault.errors import ReplayRefused
from refault.replay import outcomes as out
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from refault.trace import EventKind, MemorySlot, TraceHeader, TraceReader, TraceWriter
from tests.engines.guests import A, D, Guest, P, U, W
from tests.engines.hosts import Host

BASE = resolve(PatchSet())
V35 = resolve(PatchSet(base="v2.6.35.6"))
DATA = 100


def host_after(guest, variant=BASE):
    host = Host(variant, guest.header(), record_all=True)
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
    return host


def counters(guest, variant=BASE):
    return host_after(guest, variant).counters()


def changes(before, after, variant=BASE):
    """The counters that differ between two guests, one the other's beginning."""
    first, second = counters(before, variant), counters(after, variant)
    return {name: second[name] - first[name] for name in second if second[name] != first[name]}


def written_page():
    """One page mapped writable, by four tables; every flush asked for so far is carried out."""
    guest = Guest(pages=1024)
    for table in (1, 2, 3):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(4, {0: DATA << 12 | P | W | U})
    return guest.boot(0x1000).store(0, 7)


def change_pte(guest, *, writable, gfn=DATA):
    return guest.add(EventKind.OP_CHANGE_PTE, a=gfn, b=int(writable))


def delete(guest, slot=0):
    return guest.add(EventKind.OP_MEM_DELETE, aux=slot)


def add_memory(guest, slot, base_gfn, pages, host_level=1):
    return guest.add(EventKind.OP_MEM, flags=host_level, aux=slot, a=base_gfn, b=pages)


def test_a_new_writable_host_page_unmaps_the_old_one_with_one_flush():
    # One list held a leaf, so one flush, of the one vCPU, which the host interrupts.
    assert changes(written_page(), change_pte(written_page(), writable=True)) == {
        "flush_calls": 1,
        "remote_tlb_flush": 1,
    }
    # The next touch is a fault; the flush asked for is carried out at its entry.
    before = change_pte(written_page(), writable=True)
    after = change_pte(written_page(), writable=True).load(0)
    assert changes(before, after) == {"exits": 1, "pf_fixed": 1, "hw_flush": 1}


def test_a_new_read_only_host_page_is_read_without_a_fault_and_written_with_one():
    before = change_pte(written_page(), writable=False)
    assert changes(written_page(), before) == {"flush_calls": 1, "remote_tlb_flush": 1}
    read = change_pte(written_page(), writable=False).load(0)
    assert changes(before, read) == {"hw_flush": 1}
    written = change_pte(written_page(), writable=False).store(0, 8)
    assert changes(before, written) == {"exits": 1, "pf_fixed": 1, "hw_flush": 1}


def test_a_sync_does_not_make_a_read_only_host_page_writable():
    """The table is unsync (it maps itself), so loading the same CR3 reads its entries anew.

    It guards the table again, and asks for a flush that is carried out at the next entry.
    """

    def guest():
        made = written_page().poke(0x4008, 4 << 12 | P | W | U | A | D).load(0x1000)
        return change_pte(made, writable=False).cr3(0x1000)

    assert changes(guest(), guest().load(0)) == {"hw_flush": 1}
    assert changes(guest(), guest().store(0, 8)) == {"exits": 1, "pf_fixed": 1, "hw_flush": 1}


def test_a_change_of_an_unmapped_frame_or_outside_memory_does_nothing():
    for gfn in (200, 5000, 1 << 50, -1):
        assert changes(written_page(), change_pte(written_page(), writable=True, gfn=gfn)) == {}


@pytest.mark.parametrize("writable", [False, True])
def test_a_frame_mapped_many_times_changes_everywhere_with_one_flush(writable):
    """Six leaves fill a descriptor and begin the next; all six fault on the next write."""

    def guest():
        made = written_page().table(4, dict.fromkeys(range(1, 6), DATA << 12 | P | W | U | A | D))
        for i in range(6):
            made.store(i << 12, i)
        return made

    after = change_pte(guest(), writable=writable)
    assert changes(guest(), after) == {"flush_calls": 1, "remote_tlb_flush": 1}
    stores = change_pte(guest(), writable=writable)
    for i in range(6):
        stores.store(i << 12, i)
    assert changes(after, stores) == {"exits": 6, "pf_fixed": 6, "hw_flush": 1}


def test_deleting_a_slot_zaps_all_and_flushes_three_times_in_the_kernel_s_order():
    # zap_all: four pages, a flush each; the root is in use and asks for a reload; then one
    # flush of its own, the reload of flush_shadow(), and the flush of the slot's protection.
    # Only the first flush finds the vCPU unasked. No pages are left, and the limit with no
    # memory is the least there is, 64, as it was before.
    assert changes(written_page(), delete(written_page())) == {
        "mmu_shadow_zapped": 4,
        "flush_calls": 6,
        "reload_calls": 2,
        "remote_tlb_flush": 1,
        "n_free": 3,
        "active": -3,
    }


@pytest.mark.parametrize("variant", [BASE, V35])
def test_a_guest_whose_tables_are_gone_shuts_down(variant):
    host = host_after(delete(written_page()).load(0), variant)
    assert host.notes.findings.raw[-1][-1][1] == out.TRIPLE
    assert host.counters()["active"] == 0


def two_slots(*, last=None):
    """Slot 1 holds frames 2048 to 3071; the guest maps frame 2050 at 0x2000."""
    guest = written_page()
    add_memory(guest, 1, 2048, 1024)
    guest.poke(0x4010, 2050 << 12 | P | W | U).store(0x2000, 9)
    return guest if last is None else last(guest)


def test_memory_that_is_gone_is_a_device_and_other_memory_stays():
    guest = two_slots(last=lambda guest: delete(guest, 1)).load(0x2000).load(0)
    outcomes = [record[1:4].tolist() for record in host_after(guest).notes.findings.raw[-1][-2:]]
    assert outcomes == [[out.MMIO, 0, 0], [out.OK, DATA << 12, 7]]


def test_a_slot_that_comes_back_as_it_was_has_its_content_and_no_other_has():
    same = add_memory(two_slots(last=lambda guest: delete(guest, 1)), 1, 2048, 1024).load(0x2000)
    other = add_memory(two_slots(last=lambda guest: delete(guest, 1)), 1, 2048, 512).load(0x2000)
    assert host_after(same).notes.findings.raw[-1][-1][1:4].tolist() == [out.OK, 2050 << 12, 9]
    assert host_after(other).notes.findings.raw[-1][-1][1:4].tolist() == [out.OK, 2050 << 12, 0]


def test_no_reverse_map_holds_anything_of_a_slot_that_is_gone():
    machine = host_after(two_slots(last=lambda guest: delete(guest, 1))).machine
    slot = words.SLOTS + words.SLOT_WORDS
    assert machine.vm[slot + words.SLOT_USED] == 0
    first, end = (
        int(machine.vm[slot + words.SLOT_FRAMES]),
        int(machine.vm[slot + words.SLOT_LARGE2]),
    )
    assert not any(machine.frame[first : end : words.FRAME_WORDS])
    # 2048 and 3072 are multiples of 512 but not of 2 ** 18: only the 1 GiB region is forbidden.
    assert machine.frame[end + words.WRITE_COUNT] == 0
    assert machine.frame[int(machine.vm[slot + words.SLOT_LARGE3]) + words.WRITE_COUNT] == 2


def test_the_default_page_limit_follows_the_memory_there_is():
    # 20 pages in 1000: 16384 frames give 327, 8192 more 491; both counted in n_alloc.
    guest = add_memory(Guest(pages=16384), 1, 32768, 8192)
    assert counters(guest)["n_alloc"] == 491
    assert counters(delete(guest, 1))["n_alloc"] == 327
    fixed = add_memory(Guest(pages=16384).add(EventKind.OP_NR_PAGES, a=100), 1, 32768, 8192)
    assert counters(delete(fixed, 1))["n_alloc"] == 100


def test_deleting_switches_the_dirty_log_off():
    def logged(guest):
        return guest.add(EventKind.OP_LOG, aux=1)

    guest = Guest(pages=1024)
    for table in (1, 2):
        guest.table(table, {0: (table + 1) << 12 | P | W | U})
    guest.table(3, {0: 2048 << 12 | P | W | U | A | D | 0x80})
    add_memory(guest.boot(0x1000), 1, 2048, 1024, host_level=2)
    assert counters(logged(guest).load(0))["lpages"] == 0
    anew = add_memory(delete(guest, 1), 1, 2048, 1024, host_level=2)
    assert counters(anew.load(0))["lpages"] == 1


def test_a_slot_that_does_not_exist_or_is_elsewhere_is_skipped_and_counted():
    guest = delete(written_page(), 1)
    delete(delete(guest), 0)  # the second time there is nothing left
    assert host_after(guest).notes.skipped() == {"outside-memory": 2}
    assert host_after(add_memory(written_page(), 0, 0, 512)).notes.skipped() == {"unsupported": 1}
    assert host_after(add_memory(written_page(), 0, 512, 1024)).notes.skipped() == {
        "unsupported": 1
    }
    assert host_after(add_memory(written_page(), 0, 0, 1024)).notes.skipped() == {}


def test_a_slot_number_no_host_has_is_refused_when_made_and_skipped_otherwise():
    for kind in (EventKind.OP_LOG, EventKind.OP_DIRTYLOG, EventKind.OP_MEM_DELETE):
        guest = written_page().add(kind, aux=36)
        assert host_after(guest).notes.skipped() == {"outside-memory": 1}
    for slot in (36, 63):
        with pytest.raises(ReplayRefused, match=f"memory slot {slot} is not one of"):
            host_after(add_memory(written_page(), slot, 4096, 16))


def test_host_events_of_a_capture_are_executed():
    """A capture tool that sees the host records what it does with the same kinds."""
    slots = (MemorySlot(0, 0, 1024), MemorySlot(1, 2048, 1024))
    header = TraceHeader("capture", "with its host", "long", 1, slots)
    tables = [(table, (table + 1) << 12 | P | W | U) for table in (1, 2, 3)]
    tables.append((4, 2050 << 12 | P | W | U))
    snapshot = []
    for table, entry in tables:
        snapshot.append((7, 0, 0, 5 - table, table << 12, 1))
        snapshot.append((8, 0, 0, 0, table << 12, entry))
    access = (1, 0, 4, 3, 0x10, 2050 << 12 | 0x10)
    events = [
        (4, 0, 32, 0, 0xC0000080, 0x500),
        (3, 0, 32, 4, 0x20, 0),
        (3, 0, 32, 0, 0x80010033, 0),
        *snapshot,
        (3, 0, 32, 3, 0x1000, 0),
        access,
        (int(EventKind.OP_UNMAP), 0, 0, 0, 2050, 0),
        access,  # faults again
        (int(EventKind.OP_CHANGE_PTE), 0, 0, 0, 2050, 1),
        access,  # and again
        (int(EventKind.OP_AGE), 0, 0, 0, 2050, 0),
        (int(EventKind.OP_MEM_DELETE), 0, 0, 1, 0, 0),
        (int(EventKind.OP_MEM), 0, 1, 1, 2048, 1024),
        access,  # builds everything anew
    ]
    file = io.BytesIO()
    with TraceWriter(file, header, level=1) as writer:
        for kind, vcpu, flags, aux, a, b in events:
            writer.append(kind=[kind], vcpu=[vcpu], flags=[flags], aux=[aux], a=[a], b=[b])
    result = replay(TraceReader(io.BytesIO(file.getvalue())), [BASE])[0]
    assert result.skipped == {}
    assert (result.semantics["witnessed"], result.disagreement_count) == (4, 0)
    assert result.counters["exits"] == result.counters["pf_fixed"] == 4
    assert result.counters["mmu_shadow_zapped"] == 5  # four tables, and the root once more
    assert result.counters["mmu_cache_miss"] == 8

"""The TLB: what it keeps, what drops it, and that the guest meets what it should have dropped."""

import dataclasses

import pytest

from refault.catalogue import Parameters, patch_set_from_text, resolve, variant_from_golden_name
from refault.compare import laws
from refault.engines.shadow.arch import tlb
from refault.engines.shadow.state import machine, words
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay.compile.jit import door
from refault.replay.lowering.rows import operations_of
from refault.replay.session import replay
from tests.engines.guests import PS, A, D, Guest, P, U, W
from tests.engines.hosts import Host

WITH = resolve(patch_set_from_text("base,tlb=1"))
WITHOUT = resolve(patch_set_from_text("base"))
drop_all = door(tlb.drop_all.py_func)


def guest_with_pages(count, *, vcpus=1, bits=P | W | U | A | D, **given):
    """``count`` pages from gva 0, one after the other, mapped to frames from 512 on."""
    guest = Guest(vcpus, **given)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    tables = (count + 511) // 512
    guest.table(3, {i: (10 + i) << 12 | P | W | U for i in range(tables)})
    for page in range(count):
        guest.poke((10 + page // 512) << 12 | (page % 512) << 3, (512 + page) << 12 | bits)
    for vcpu in range(vcpus):
        guest.boot(0x1000, vcpu=vcpu)
    return guest


def work(guest, variant=WITH):
    (result,) = replay(guest.trace(), [variant])
    laws.check(result)
    return {name: result.work[name] for name in ("tlb_hits", "walks")}


def reached(guest, variant):
    """What each access came to: an address or None."""
    host = Host(variant, guest.header(), record_all=True)
    records = []
    for ops, count, _ in operations_of(guest.header(), iter([guest.block()]), {}):
        host.execute(ops, count)
        accesses = [op.LD <= kind <= op.ST1 for kind in ops.kind[:count]]
        for record in [record for part in host.notes.findings.raw for record in part.tolist()]:
            if accesses[record[rec.ROW]]:
                is_ok = record[rec.CODE] == out.OK
                records.append(record[rec.ADDRESS] if is_ok else None)
    return records


def test_without_a_tlb_every_access_walks():
    assert work(guest_with_pages(1).load(0).load(0).store(8), WITHOUT) == {
        "tlb_hits": 0,
        "walks": 3,
    }


def test_the_second_access_to_a_page_is_a_hit():
    guest = guest_with_pages(2).load(0).load(8).store(16, 5).fetch(24).load(0x1000)
    assert work(guest) == {"tlb_hits": 3, "walks": 2}


def test_four_pages_share_a_set_and_a_fifth_pushes_the_oldest_out():
    pages = [i * 256 << 12 for i in range(5)]
    guest = guest_with_pages(5 * 256)
    for gva in pages[:4] * 3:
        guest.load(gva)
    assert work(guest) == {"tlb_hits": 8, "walks": 4}
    guest.load(pages[4]).load(pages[1]).load(pages[0]).load(pages[2]).load(pages[1])
    # The fifth takes the way of page 0, page 0 that of page 1, page 1 that of page 2.
    assert work(guest) == {"tlb_hits": 8 + 2, "walks": 4 + 3}


@pytest.mark.parametrize(
    "flush",
    [
        lambda guest: guest.cr3(0x1000),
        lambda guest: guest.cr3(0x2000).cr3(0x1000),
        lambda guest: guest.invlpg(0x5000),
        lambda guest: guest.boot(0x1000),
    ],
    ids=["the same CR3", "another CR3 and back", "INVLPG of another page", "a new start"],
)
def test_a_flush_drops_every_page(flush):
    guest = guest_with_pages(2).load(0).load(0x1000).load(0).load(0x1000)
    assert work(guest) == {"tlb_hits": 2, "walks": 2}
    assert work(flush(guest).load(0).load(0x1000)) == {"tlb_hits": 2, "walks": 4}


def test_an_entry_that_grants_too_little_is_dropped_and_walked_again():
    guest = guest_with_pages(1, bits=P | U | A | D).load(0).load(0).store(0).load(0)
    assert reached(guest, WITH) == [512 << 12, 512 << 12, None, 512 << 12]
    # The store drops the entry and faults to the guest; the load after it walks.
    assert work(guest) == {"tlb_hits": 1, "walks": 3}


def test_a_kernel_page_in_the_tlb_is_not_for_the_user():
    guest = guest_with_pages(1, bits=P | W | A | D).load(0, user=0).load(0, user=1)
    assert reached(guest, WITH) == [512 << 12, None]


def test_a_large_page_is_one_entry():
    guest = Guest(pages=4096, host_level=2)
    guest.table(1, {0: 2 << 12 | P | W | U}).table(2, {0: 3 << 12 | P | W | U})
    guest.table(3, {1: 1024 << 12 | P | W | U | A | D | PS}).boot(0x1000)
    for page in range(512, 1024):
        guest.store(page << 12 | 8, page).load(page << 12 | 8)
    assert reached(guest, WITH) == reached(guest, WITHOUT)
    assert work(guest) == {"tlb_hits": 1023, "walks": 1}


def test_each_vcpu_has_its_own():
    guest = guest_with_pages(1, vcpus=2).load(0, vcpu=0).load(0, vcpu=1).load(0, vcpu=0)
    assert work(guest) == {"tlb_hits": 1, "walks": 2}


def test_a_processor_goes_on_with_what_another_ones_fault_has_replaced():
    """No flush follows when a fault puts another frame into an entry (finding F-X4's case)."""
    guest = guest_with_pages(1, vcpus=2, bits=P | U | A | D)
    guest.poke(10 << 12 | 5 << 3, 10 << 12 | P | W | A | D)  # the table itself, at gva 0x5000
    guest.load(0, vcpu=1).load(0, vcpu=0)
    guest.store(0x5000, 600 << 12 | P | W | U | A | D, user=0, vcpu=0)
    guest.store(0, 1, vcpu=0)  # the old entry had no W: a fault, and frame 600
    guest.load(0, vcpu=1)
    old, new = 512 << 12, 600 << 12
    assert reached(guest, WITHOUT) == [old, old, 10 << 12, new, new]
    assert reached(guest, WITH)[:4] == [old, old, 10 << 12, new]
    assert reached(guest, WITH)[4] == old
    assert reached(guest.invlpg(0, vcpu=1).load(0, vcpu=1), WITH)[5] == new


def test_generations_never_meet_again():
    m = machine.add_tlb(machine.create(WITH.knobs, bypass=0, interpreted=False), 1)
    m.vm[words.CPUS + words.TLB_KEY] = tlb.GENERATION_END - tlb.GENERATION
    m.tlb[0] = 1 << tlb.LEVEL_SHIFT
    drop_all(m, words.CPUS)
    assert m.vm[words.CPUS + words.TLB_KEY] == 0
    assert m.tlb[0] == 0


def test_the_parameter_is_off_and_then_part_of_no_digest():
    off, on = Parameters(), Parameters(tlb=1)
    assert resolve(patch_set_from_text("base,tlb=0")).digest == WITHOUT.digest
    assert WITH.digest != WITHOUT.digest
    assert (off.to_words(), on.to_words()) == ([], ["tlb=1"])
    assert Parameters.from_dict(on.to_dict()) == on
    assert variant_from_golden_name("p2", dataclasses.replace(on, bypass=1)).name.endswith("tlb=1")

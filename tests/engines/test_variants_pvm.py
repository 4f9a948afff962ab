"""PVM's ideas, worked out by hand: no kernel has them all, so nothing else says what is right."""

import pytest

from refault.engines.shadow.state import words
from refault.results import WORK
from refault.trace import EventKind
from tests.engines.guests import Guest
from tests.engines.variants import (
    FIRST_OF_PT2,
    PD,
    PDPT,
    PT,
    ROOT,
    SELF,
    UPPER,
    changes,
    host_after,
    link,
    shadowed,
    two_tables,
    unsynced,
)

APRIL = "kvm-2010-04"
SECOND = 11
FAULT = {"pf_fixed": 1, "exits": 1}


def work(make, act, *patch_ids, base=APRIL):
    """What an act changes of the work counts."""
    before = host_after(make(), *patch_ids, base=base).work()
    guest = make()
    act(guest)
    after = host_after(guest, *patch_ids, base=base).work()
    return {name: after[name] - before[name] for name in WORK if after[name] != before[name]}


# --- pvm-dirty-epoch ----------------------------------------------------------------------------


# Four levels: three links lead up to the root. They are marked when PT goes, or climbed when the
# root is loaded again.
@pytest.mark.parametrize(
    ("patch_ids", "going", "loading"),
    [((), {"parent_marks": 3}, {}), (("pvm-dirty-epoch",), {}, {"parent_marks": 3})],
    ids=str,
)
def test_nothing_above_is_touched_until_the_root_is_loaded(patch_ids, going, loading):
    assert changes(shadowed, lambda g: g.load(SELF), *patch_ids) == (
        FAULT | {"mmu_unsync": 1} | going
    )
    assert changes(lambda: shadowed().load(SELF), lambda g: g.cr3(ROOT << 12), *patch_ids) == (
        {"mmu_unsync": -1, "synced": 1, "flush_calls": 1, "tlb_flush": 2, "hw_flush": 2} | loading
    )


def other_space():
    """Both tables out of sync under the first root, and looked at by the second, which has none."""
    guest = unsynced()
    for frame in (11, 12, 13):
        guest.table(frame, {0: link(frame + 1)})
    return guest.table(14, {0: link(103)}).cr3(SECOND << 12).load(0)


def test_a_root_looks_once_at_what_it_does_not_reach():
    first = changes(unsynced, lambda g: g.cr3(PD << 12).load(0), "pvm-dirty-epoch")
    assert first["parent_marks"] == 6  # both tables, three links each; PD as a root is another page
    assert changes(other_space, lambda g: g.cr3(SECOND << 12), "pvm-dirty-epoch") == {
        "tlb_flush": 1,
        "hw_flush": 1,
    }


# The second root links PD, below which both tables are out of sync: the link is noted, and the
# vCPU syncs both before it enters.
def test_a_link_above_something_out_of_sync_is_a_change():
    def make():
        guest = unsynced()
        return guest.table(SECOND, {0: link(12)}).table(12, {0: link(PD)})

    for patch_ids in ((), ("pvm-dirty-epoch",)):
        found = changes(make, lambda g: g.cr3(SECOND << 12).load(0), *patch_ids)
        assert (found["mmu_unsync"], found["synced"]) == (-2, 2)


def test_a_root_that_was_synced_before_such_a_link_looks_at_everything_again():
    """The first root learns of PT only by the link, though PT went out of sync long before."""

    def make():
        guest = Guest()
        guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)}).table(PD, {0: link(PT)})
        guest.table(PT, {0: link(100), 1: link(PT)})
        guest.table(SECOND, {0: link(12)}).table(12, {0: link(13)}).table(13, {0: link(14)})
        guest.table(14, {0: link(103), 1: link(13), 2: link(12)})
        guest.boot(ROOT << 12).load(0).load(SELF)
        # The second root is synced while PT is out of sync elsewhere; then it links PD itself.
        return guest.cr3(SECOND << 12).load(0).store(0x2008, link(PD))

    gva = 1 << 30
    for patch_ids in ((), ("pvm-dirty-epoch",)):
        found = changes(make, lambda g: g.load(gva), *patch_ids)
        assert found["synced"] == 1
        assert host_after(make().load(gva), *patch_ids).counters()["mmu_unsync"] == 0


# --- pvm-prefault -------------------------------------------------------------------------------

PAGE = 5 << 12


def faulted():
    """The guest was told of a missing page and has filled in its entry, in a table out of sync."""
    guest = two_tables().load(0).load(SELF).load(PAGE)
    return guest.store(SELF + 8 * 5, link(105))


@pytest.mark.parametrize(
    ("patch_ids", "exits"), [((), {"exits": 1}), (("pvm-prefault",), {})], ids=str
)
def test_the_page_is_mapped_without_the_second_exit(patch_ids, exits):
    assert changes(faulted, lambda g: g.load(PAGE), *patch_ids) == {"pf_fixed": 1} | exits


# Once only; not for another page; not in another address space; not while the entry is absent.
@pytest.mark.parametrize(
    ("make", "act"),
    [
        (faulted, lambda g: g.load(6 << 12)),
        (lambda: faulted().load(PAGE), lambda g: g.invlpg(PAGE).load(PAGE)),
        (
            lambda: faulted().table(SECOND, {0: link(PDPT)}).cr3(SECOND << 12),
            lambda g: g.load(PAGE),
        ),
        (lambda: two_tables().load(0).load(PAGE), lambda g: g.load(PAGE)),
    ],
)
def test_and_nothing_else_changes(make, act):
    assert changes(make, act, "pvm-prefault") == changes(make, act)


# --- pvm-table-queue ----------------------------------------------------------------------------


def mapped():
    """Both tables and PD mapped, and PT's own mapping used."""
    return shadowed().load(SELF).load(UPPER)


# The base lets PT go out of sync at the first fault, and emulates a store to PD.
@pytest.mark.parametrize(
    ("act", "base", "queued"),
    [
        (lambda g: g.store(SELF + 0x28, link(105)), {}, {}),
        (
            lambda g: g.store(UPPER + 0x28, 0),
            FAULT | {"mmu_pte_write": 1, "tlb_flush": 1, "hw_flush": 2},
            {},
        ),
    ],
)
def test_no_store_to_a_table_exits(act, base, queued):
    assert changes(mapped, act, base=APRIL) == base
    assert changes(mapped, act, "pvm-table-queue", base=APRIL) == queued


def test_nothing_goes_out_of_sync():
    assert changes(shadowed, lambda g: g.load(SELF), "pvm-table-queue", base=APRIL) == FAULT


# Two words noted, of which one drops a leaf: a flushR for both, and the flush of the load of CR3
# itself. One hypercall.
def test_a_flush_is_preceded_by_one_call_for_all_that_was_noted():
    def make():
        return mapped().store(SELF + 0x28, link(105)).store(SELF, 0)

    def act(guest):
        guest.cr3(ROOT << 12)

    assert changes(make, act, "pvm-table-queue", base=APRIL) == {
        "mmu_pte_write": 2,
        "mmu_pte_updated": 1,
        "flush_calls": 1,
        "tlb_flush": 1,
        "hw_flush": 1,
    }
    assert work(make, act, "pvm-table-queue") == {"vm_exits": 2, "hypercalls": 1}
    assert work(make, act) == {"vm_exits": 1}


def test_a_word_is_noted_once_and_the_sixty_fourth_makes_a_call():
    def stores(count):
        def act(guest):
            for index in range(10, 10 + count):
                guest.store(SELF + 8 * index, link(100)).store(SELF + 8 * index, link(101))

        return act

    calls = [work(mapped, stores(count), "pvm-table-queue") for count in (63, 64)]
    assert [found.get("hypercalls", 0) for found in calls] == [0, 1]


# PD's second entry leads to another table before the guest touches what it maps: the fault must not
# be handled with the old link.
def test_a_fault_is_handled_with_what_the_tables_say():
    guest = mapped().table(6, {0: link(107)}).store(UPPER + 8, link(6)).load(FIRST_OF_PT2 + 0x1000)
    guest.load(FIRST_OF_PT2)
    host = host_after(guest, "pvm-table-queue", base=APRIL)
    assert host.machine.vm[words.OUT_ADDRESS] == 107 << 12


# --- pvm-root-pair ------------------------------------------------------------------------------

KERNEL, USER = 32, 33


def isolated():
    """PTI: two roots over the same tables here, both loaded once."""
    guest = Guest()
    for root in (KERNEL, USER):
        guest.table(root, {0: link(PDPT)})
    guest.table(PDPT, {0: link(PD)}).table(PD, {0: link(PT)})
    guest.table(PT, {0: link(100), 1: link(PT)})
    return guest.boot(KERNEL << 12).load(0).cr3(USER << 12).load(0)


def there_and_back(guest):
    guest.cr3(KERNEL << 12).load(0).cr3(USER << 12).load(0)


@pytest.mark.parametrize(
    ("patch_ids", "expected"), [((), {"vm_exits": 2}), (("pvm-root-pair",), {})], ids=str
)
def test_switching_between_the_roots_of_one_process_costs_no_exit(patch_ids, expected):
    found = work(isolated, there_and_back, *patch_ids)
    found.pop("walks")
    assert found == expected
    assert changes(isolated, there_and_back, *patch_ids, base=APRIL) == {}


# The kernel's tables were changed: the switch is a load of the root, and syncs what it reaches.
@pytest.mark.parametrize("patch_ids", [(), ("pvm-root-pair",)], ids=str)
def test_what_is_out_of_sync_below_the_other_root_is_synced(patch_ids):
    def make():
        return isolated().load(SELF)

    assert work(make, lambda g: g.cr3(KERNEL << 12), *patch_ids) == {"vm_exits": 1}
    found = changes(make, lambda g: g.cr3(KERNEL << 12).load(0), *patch_ids, base=APRIL)
    assert found["synced"] == 1


# In the second case the first switch comes while both roots are there.
@pytest.mark.parametrize(
    ("act", "spared"),
    [
        (lambda g: g.cr3(PDPT << 12).cr3(KERNEL << 12).load(0).cr3(USER << 12), 0),
        (lambda g: g.cr3(KERNEL << 12).add(EventKind.OP_ZAPALL).load(0).cr3(USER << 12), 1),
    ],
)
def test_another_process_or_a_reset_ends_the_pair(act, spared):
    base, kept = work(isolated, act), work(isolated, act, "pvm-root-pair")
    assert base["vm_exits"] - kept["vm_exits"] == spared
    host = host_after(isolated().cr3(PDPT << 12), "pvm-root-pair", base=APRIL)
    assert host.state()["vcpus"][0]["pair_root"] == 0

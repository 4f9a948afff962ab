"""Forms and pieces of patch 6 without a result of the real code, worked out by hand."""

import pytest

from tests.engines.guests import A, Guest, P, U
from tests.engines.variants import (
    FIRST_OF_PT2,
    OTHER,
    PD,
    PT,
    ROOT,
    SELF,
    changes,
    link,
    two_tables,
    unsynced,
)

SECOND_SPACE = 11


def two_spaces():
    """Both tables of the first space out of sync; a second space that shares no table with it."""
    guest = unsynced()
    for frame in (11, 12, 13):
        guest.table(frame, {0: link(frame + 1)})
    return guest.table(14, {0: link(103)})


def away(guest):
    return guest.cr3(SECOND_SPACE << 12).load(0)


def back(guest):
    return guest.cr3(ROOT << 12).load(0)


# Loading the second root reaches neither table; patch 6's list, the VM's or the module's, has both.
@pytest.mark.parametrize(
    ("patch_id", "synced"),
    [
        ("unsync-list-global", 2),
        ("unsync-list-vm", 2),
        ("unsync-list-reachable", 0),
        ("sync-flush-once", 0),
        ("sync-protect-once", 0),
    ],
)
def test_only_a_list_without_a_filter_syncs_what_the_new_root_does_not_reach(patch_id, synced):
    found = changes(two_spaces, away, patch_id)
    assert found.get("synced", 0) == -found.get("mmu_unsync", 0) == synced


# Back under the first root both are to be synced. By marks PT comes first: both tables' mappings
# lose W (flushR), then PT's entry for PT2 gets W back, since PT2 is still out of sync, so PT2 needs
# protecting again (flushR), unless each is protected once and guarded meanwhile. By list PT2, which
# went last, comes first, and PT finds it guarded. A flushL each, or one; the flushRs are carried
# out once, by the entry. Nothing faults: the mappings are there.
@pytest.mark.parametrize(
    ("patch_ids", "flush_calls", "tlb_flush", "hw_flush"),
    [
        ((), 2, 2, 3),
        (("unsync-list-reachable",), 1, 1, 2),
        (("sync-flush-once",), 1, 1, 2),
        (("sync-protect-once",), 1, 2, 3),
        (("sync-protect-once", "sync-flush-once"), 1, 1, 2),
        (("flush-local-deferred",), 2, 2, 1),
    ],
    ids=str,
)
def test_what_a_load_of_a_root_with_two_tables_out_of_sync_flushes(
    patch_ids, flush_calls, tlb_flush, hw_flush
):
    assert changes(lambda: away(two_spaces()), back, *patch_ids) == {
        "mmu_unsync": -2,
        "synced": 2,
        "flush_calls": flush_calls,
        "tlb_flush": tlb_flush,
        "hw_flush": hw_flush,
    }


# However they were synced, both tables are guarded afterwards: a store through either is a fault.
@pytest.mark.parametrize(
    "patch_id", ["unsync-list-reachable", "sync-flush-once", "sync-protect-once"]
)
def test_every_synced_table_is_guarded_whatever_was_synced_after_it(patch_id):
    for gva in (SELF, OTHER):
        found = changes(
            lambda: back(away(two_spaces())), lambda g, gva=gva: g.store(gva + 0x800, 0), patch_id
        )
        assert (found["exits"], found["mmu_unsync"]) == (1, 1)


def shared_pae():
    """A PAE guest: two directories, each with a table that maps itself, out of sync."""
    guest = Guest()
    guest.table(1, {0: 2 << 12 | P, 1: 3 << 12 | P, 2: 0, 3: 0})
    for pd in (2, 3):
        guest.table(pd, {0: link(pd + 2)})
        guest.table(pd + 2, {0: link(100 + pd), 1: link(pd + 2)})
    guest.boot(1 << 12, cr0=0x80010033, cr4=0x20, efer=0)
    return guest.load(SELF).load((1 << 30) + SELF)


# Reloading CR3: each of the two roots has one table. On the base a flushR and a flushL for each,
# and the flushL of the reload. All the roots are one synchronisation to patch 6's forms.
@pytest.mark.parametrize(
    ("patch_ids", "flush_calls", "tlb_flush"),
    [((), 2, 3), (("unsync-list-reachable",), 1, 2), (("sync-flush-once",), 1, 2)],
    ids=str,
)
def test_the_roots_of_a_pae_guest_are_synced_together(patch_ids, flush_calls, tlb_flush):
    assert changes(shared_pae, lambda g: g.cr3(1 << 12), *patch_ids) == {
        "mmu_unsync": -2,
        "synced": 2,
        "flush_calls": flush_calls,
        "tlb_flush": tlb_flush,
        "hw_flush": tlb_flush,
    }


READ_ONLY = 2 * FIRST_OF_PT2
NEW_ENTRY = SELF + 5 * 8


def twice_shadowed():
    """PT below a writable and a read-only entry: two roles, so it stays in sync."""
    guest = two_tables().table(PD, {2: link(PT, P | U | A)})
    return guest.load(0).load(READ_ONLY).load(SELF)


# The store is a fault on a guarded table (an uncounted vendor flush) and is emulated. It fills an
# absent entry in both shadows: nothing another processor could hold, a local flush for each.
@pytest.mark.parametrize(
    ("patch_ids", "tlb_flush", "hw_flush"),
    [
        ((), 2, 3),
        (("write-flush-once",), 1, 2),
        (("flush-local-deferred",), 2, 1),
        (("write-flush-once", "flush-local-deferred"), 1, 1),
    ],
    ids=str,
)
def test_filling_an_entry_that_is_shadowed_twice_flushes_locally(patch_ids, tlb_flush, hw_flush):
    assert changes(twice_shadowed, lambda g: g.store(NEW_ENTRY, link(103)), *patch_ids) == {
        "pf_fixed": 1,
        "exits": 1,
        "mmu_pte_write": 1,
        "mmu_pte_updated": 2,
        "tlb_flush": tlb_flush,
        "hw_flush": hw_flush,
    }


# Emptying it again takes a mapping from both: a remote flush for each, or one.
@pytest.mark.parametrize(("patch_ids", "flush_calls"), [((), 2), (("write-flush-once",), 1)])
def test_emptying_an_entry_that_is_shadowed_twice_flushes_remotely(patch_ids, flush_calls):
    assert changes(
        lambda: twice_shadowed().store(NEW_ENTRY, link(103)),
        lambda g: g.store(NEW_ENTRY, 0),
        *patch_ids,
    ) == {
        "pf_fixed": 1,
        "exits": 1,
        "mmu_pte_write": 1,
        "mmu_pte_updated": 2,
        "flush_calls": flush_calls,
        "hw_flush": 1,
    }


# Two writes that are too short zap both shadows: a flush each at once, or one for the batch; what
# a write puts off is served by it. With flood counting once for each page zapped.
@pytest.mark.parametrize(
    ("patch_ids", "flush_calls"),
    [
        ((), 2),
        (("write-flush-once",), 2),
        (("zap-return-self", "zap-batch"), 1),
        (("zap-return-self", "zap-batch", "write-flush-once"), 1),
    ],
    ids=str,
)
def test_a_short_write_zaps_both_shadows_with_one_flush_in_a_batch(patch_ids, flush_calls):
    assert changes(twice_shadowed, lambda g: g.store(NEW_ENTRY, 0, size=1), *patch_ids) == {
        "pf_fixed": 1,
        "exits": 1,
        "mmu_pte_write": 1,
        "mmu_flooded": 2,
        "mmu_shadow_zapped": 2,
        "flush_calls": flush_calls,
        "hw_flush": 1,
        "active": -2,
        "n_free": 2,
    }


# The first vCPU's flush is still to come when the second asks everybody for one: nobody is left
# to interrupt. Carried out at once it is forgotten, and the first vCPU is interrupted.
def test_a_flush_put_off_saves_another_vcpus_interrupt():
    def both_in():
        return two_tables(vcpus=2).load(0, vcpu=0).load(0, vcpu=1)

    def flush(guest):
        return guest.invlpg(0x5000, vcpu=0).invlpg(0, vcpu=1)

    common = {"invlpg": 2, "tlb_flush": 2, "flush_calls": 1}
    assert changes(both_in, flush) == common | {"hw_flush": 2, "remote_tlb_flush": 1}
    assert changes(both_in, flush, "flush-local-deferred") == common

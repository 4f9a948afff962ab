"""Forms of patch 4 without a result of the real code, on scenarios worked out by hand."""

import pytest

from tests.engines.guests import LONG
from tests.engines.variants import PD, PT, ROOT, SELF, changes, cr0, cr4, link, two_tables, unshadow

PGE_ON, PGE_OFF = 0xA0, 0x20
CR0, CR0_TS, CR0_NO_WP = LONG["cr0"], LONG["cr0"] | 8, LONG["cr0"] & ~0x10000
GLOBAL = 0x100


def idle():
    return two_tables(cr4=PGE_ON).load(0)


def unsynced():
    return idle().load(SELF)


def flush_by_toggling(guest):
    return cr4(cr4(guest, PGE_OFF), PGE_ON).load(0)


# Base: with PGE off another root is made, only to be let go. As intended: two flushes, no more.
# Without the role bit the same root is found again; with only some bits resetting, PGE is one.
@pytest.mark.parametrize(
    ("patch_ids", "expected"),
    [
        ((), {"mmu_cache_miss": 1, "active": 1, "n_free": -1}),
        (("cr4-store",), {"tlb_flush": 2, "hw_flush": 2}),
        (("cr4-norole",), {}),
        (("cr-reset-bits",), {"mmu_cache_miss": 1, "active": 1, "n_free": -1}),
        (("cr4-norole", "cr4-guest-flush"), {"tlb_flush": 2, "hw_flush": 2}),
    ],
    ids=str,
)
def test_toggling_pge_costs_a_root_or_two_flushes_or_nothing(patch_ids, expected):
    assert changes(idle, flush_by_toggling, *patch_ids) == expected


# Stored at once, the flush too; the sync takes W from the table's mapping (flushR) and flushes.
SYNCED = {"mmu_unsync": -1, "synced": 1, "flush_calls": 1}


@pytest.mark.parametrize(
    ("patch_ids", "expected"),
    [
        (("cr4-store",), SYNCED | {"tlb_flush": 2, "hw_flush": 2}),
        (("cr4-norole", "cr4-guest-flush"), {}),
    ],
    ids=str,
)
def test_a_requested_flush_waits_for_the_next_entry(patch_ids, expected):
    assert changes(unsynced, lambda g: cr4(g, PGE_OFF), *patch_ids) == expected


# The entry before the second write syncs (flushR, flushL) and flushes; that flushR is carried out
# there too. The entry of the load flushes once more.
@pytest.mark.parametrize("patch_ids", [("cr4-store",), ("cr4-norole", "cr4-guest-flush")], ids=str)
def test_at_once_or_at_the_entry_the_flushes_are_as_many(patch_ids):
    assert changes(unsynced, flush_by_toggling, *patch_ids) == SYNCED | {
        "tlb_flush": 3,
        "hw_flush": 4,
    }


# A reset drops the root; loading it again syncs what it reaches: flushR, flushL, and the request
# of the former at the same entry.
RELOADED = SYNCED | {"tlb_flush": 1, "hw_flush": 2}


@pytest.mark.parametrize(
    ("act", "by_bits", "by_guest_flush"),
    [
        (lambda g: cr4(g, PGE_ON), {}, {}),  # the same value
        (lambda g: cr4(g, PGE_ON | 4), {}, {}),  # TSD
        (lambda g: cr4(g, PGE_ON | 0x10), RELOADED, RELOADED),  # PSE
        (lambda g: cr0(g, CR0), {}, RELOADED),
        (lambda g: cr0(g, CR0_TS), {}, RELOADED),
        (lambda g: cr0(g, CR0_NO_WP), RELOADED, RELOADED),
    ],
)
def test_only_bits_that_matter_reset_the_context(act, by_bits, by_guest_flush):
    def then_load(guest):
        return act(guest).load(0)

    assert changes(unsynced, then_load) == RELOADED
    assert changes(unsynced, then_load, "cr-reset-bits") == by_bits
    guest_flush = changes(unsynced, then_load, "cr4-norole", "cr4-guest-flush")
    assert guest_flush == by_guest_flush


@pytest.mark.parametrize("patch_id", ["cr4-store", "cr-reset-bits", "cr4-guest-flush"])
def test_the_same_forms_work_on_2_6_35(patch_id):
    reset = changes(idle, flush_by_toggling, base="v2.6.35.6")
    assert reset == {}  # CR4.PGE is not in its role
    flushes = {} if patch_id == "cr-reset-bits" else {"tlb_flush": 2, "hw_flush": 2}
    assert changes(idle, flush_by_toggling, patch_id, base="v2.6.35.6") == flushes


def kernel_tables(pge=PGE_ON):
    """PT maps a frame and itself for every address space, and one frame for this one only."""
    guest = two_tables(cr4=pge)
    guest.table(PT, {0: link(100) | GLOBAL, 1: link(PT) | GLOBAL, 4: link(102)})
    return guest.load(0)


ONLY_THIS_ONE = 0x4000


# Going out of sync costs no marks; without PGE, or the patch, three: PD, PDPT and root.
def test_a_table_of_global_entries_goes_out_of_sync_without_marks():
    unsync = {"pf_fixed": 1, "exits": 1, "mmu_unsync": 1}
    assert changes(kernel_tables, lambda g: g.load(SELF), "global-pages") == unsync
    for patch_ids, pge in ((("global-pages",), PGE_OFF), ((), PGE_ON)):
        found = changes(lambda pge=pge: kernel_tables(pge), lambda g: g.load(SELF), *patch_ids)
        assert found == unsync | {"parent_marks": 3}


# Reloading CR3 only flushes; the write to CR4 or CR0 syncs the table before it drops the root.
def test_such_a_table_is_synced_by_cr4_and_cr0_and_not_by_cr3():
    def out_of_sync():
        return kernel_tables().load(SELF)

    flushed = {"tlb_flush": 1, "hw_flush": 1}
    assert changes(out_of_sync, lambda g: g.cr3(ROOT << 12), "global-pages") == flushed
    assert changes(out_of_sync, lambda g: g.cr3(ROOT << 12)) == SYNCED | {
        "tlb_flush": 2,
        "hw_flush": 2,
    }
    for act in (lambda g: cr4(g, PGE_OFF), lambda g: cr0(g, CR0)):
        assert changes(out_of_sync, act, "global-pages") == SYNCED | flushed


# Mapping the entry without G marks the ancestors after all, and from then on CR3 syncs the table.
def test_an_entry_that_is_not_global_makes_its_table_like_any_other():
    def mixed():
        return kernel_tables().load(SELF).load(ONLY_THIS_ONE)

    assert changes(
        lambda: kernel_tables().load(SELF), lambda g: g.load(ONLY_THIS_ONE), "global-pages"
    ) == {"pf_fixed": 1, "exits": 1, "parent_marks": 3}
    assert changes(mixed, lambda g: g.cr3(ROOT << 12), "global-pages") == SYNCED | {
        "tlb_flush": 2,
        "hw_flush": 2,
    }


# The tables below a page that is zapped are found by their marks: a global one has none.
def test_a_global_table_stays_when_the_page_above_it_goes():
    def out_of_sync():
        return kernel_tables().load(SELF)

    for patch_ids, zapped in (((), 2), (("global-pages",), 1)):
        found = changes(out_of_sync, lambda g: unshadow(g, PD), *patch_ids)
        assert found["mmu_shadow_zapped"] == zapped

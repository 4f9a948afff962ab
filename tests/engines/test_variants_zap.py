"""Forms of patch 2 without a result of the real code, on scenarios worked out by hand."""

import pytest

from refault.engines.shadow.state import words
from refault.trace import EventKind
from tests.engines.guests import Guest
from tests.engines.variants import (
    FIRST_OF_PT2,
    PD,
    PDPT,
    ROOT,
    SELF,
    UPPER,
    bug_of,
    changes,
    host_after,
    limit,
    link,
    shadowed,
    two_tables,
    unshadow,
    unsynced,
)

SELF_COUNTED = ("zap-return-self",)
BATCH = ("zap-return-self", "zap-batch")


# The PD goes, and with it both tables below it, which are out of sync: three pages.
@pytest.mark.parametrize(
    ("patch_ids", "flushes"), [((), 3), (SELF_COUNTED, 3), (BATCH, 1)], ids=str
)
def test_a_batch_makes_one_flush_for_a_page_and_its_children(patch_ids, flushes):
    assert changes(unsynced, lambda g: unshadow(g, PD), *patch_ids) == {
        "mmu_shadow_zapped": 3,
        "flush_calls": flushes,
        "mmu_unsync": -2,
        "active": -3,
        "n_free": 3,
    }


# List, newest first: PT2 PT PD PDPT root. From the head on each of the four is freed and the
# walk starts again; the root stays, answers 0, and the walk ends behind it. One more flush at
# the end of zap_all(); in a batch there is only the one of the commit. The host does it, so the
# first flush finds the vCPU's request clear and interrupts it.
@pytest.mark.parametrize(("patch_ids", "flushes"), [(SELF_COUNTED, 6), (BATCH, 1)], ids=str)
def test_zapping_everything_in_a_batch_flushes_once(patch_ids, flushes):
    assert changes(unsynced, lambda g: g.add(EventKind.OP_ZAPALL), *patch_ids) == {
        "mmu_shadow_zapped": 5,
        "flush_calls": flushes,
        "remote_tlb_flush": 1,
        "reload_calls": 1,
        "mmu_unsync": -2,
        "active": -4,
        "n_free": 4,
    }


# The oldest page is the root, in use: nothing is freed, so there is nothing to flush for.
@pytest.mark.parametrize(("patch_ids", "flushes"), [((), 1), (BATCH, 0)], ids=str)
def test_a_root_in_use_needs_no_flush_in_a_batch(patch_ids, flushes):
    found = changes(shadowed, lambda g: g.add(EventKind.OP_SHRINK, a=1), *patch_ids)
    assert found.pop("flush_calls", 0) == found.pop("remote_tlb_flush", 0) == flushes
    assert found == {"mmu_shadow_zapped": 1, "reload_calls": 1}


# Five pages, a limit of 2. The tail is the root: its two children go, it stays, which is 2 freed
# and leaves 3; then the PDPT, which leaves 2. Patch 2 as posted counts the root too, so that it
# is content after the first zap, with three pages left under a limit of two.
@pytest.mark.parametrize(
    ("patch_ids", "zapped", "left", "flushes"),
    [(("zap-account",), 3, 3, 3), (SELF_COUNTED, 4, 2, 4), (BATCH, 4, 2, 1)],
    ids=str,
)
def test_a_limit_is_kept_when_a_root_in_use_counts_as_nothing_freed(
    patch_ids, zapped, left, flushes
):
    host = host_after(limit(unsynced(), 2), *patch_ids)
    before = host_after(unsynced(), *patch_ids).counters()
    after = host.counters()
    assert not host.machine.vm[words.BUG]
    assert after["mmu_shadow_zapped"] - before["mmu_shadow_zapped"] == zapped
    assert after["flush_calls"] - before["flush_calls"] == flushes
    assert (after["active"], after["n_alloc"], after["n_free"]) == (left, 2, 0)


# A limit of 0 and one root in use: it is never freed and never counted as freed.
@pytest.mark.parametrize("patch_ids", [SELF_COUNTED, BATCH], ids=str)
def test_more_roots_than_the_limit_are_zapped_for_ever(patch_ids):
    assert bug_of(limit(shadowed(), 0), *patch_ids) == words.BUG_ENDLESS_ZAP
    assert bug_of(limit(shadowed(), 1), *patch_ids) == 0


# One byte written into the PD, through its mapping in PT: a fault on a guarded table (a vendor
# flush), an emulated write, and as it is shorter than 4 bytes the PD is zapped, without children.
# A zap that counts itself answers 1, so the walk starts again before it counts a flooded page.
@pytest.mark.parametrize(
    ("patch_ids", "flooded"), [((), 1), (SELF_COUNTED, 0), (BATCH, 1)], ids=str
)
def test_a_walk_that_starts_again_after_each_zap_counts_no_flooded_page(patch_ids, flooded):
    found = changes(shadowed, lambda g: g.store(UPPER + 0xFF8, 0, size=1), *patch_ids)
    assert found.pop("mmu_flooded", 0) == flooded
    assert found == {
        "pf_fixed": 1,
        "exits": 1,
        "hw_flush": 1,
        "mmu_pte_write": 1,
        "mmu_shadow_zapped": 1,
        "flush_calls": 1,
        "active": -1,
        "n_free": 1,
    }


# The PD goes; its two children turn invalid and stay where they are.
def test_children_marked_invalid_stay_and_are_in_sync_for_the_gauge():
    assert changes(unsynced, lambda g: unshadow(g, PD), "zap-children-invalid") == {
        "mmu_shadow_zapped": 1,
        "flush_calls": 1,
        "mmu_unsync": -2,
        "active": -1,
        "n_free": 1,
    }


def rebuilt():
    return unshadow(unsynced(), PD).load(0)


# PD and PT are made anew: the invalid PT is never found. Guarding PT takes W from the mapping of
# it that the invalid page still holds, hence one more flush, which the access's entry carries out.
def test_an_invalid_child_is_never_found_again():
    assert changes(
        lambda: unshadow(unsynced(), PD), lambda g: g.load(0), "zap-children-invalid"
    ) == {
        "mmu_cache_miss": 2,
        "pf_fixed": 1,
        "exits": 1,
        "flush_calls": 1,
        "hw_flush": 2,
        "active": 2,
        "n_free": -2,
    }


# While the invalid page of the table is there, the table cannot go out of sync: its mapping is
# read-only and the write is emulated. On the base the same read lets it go.
def test_an_invalid_page_of_a_table_keeps_that_table_in_sync():
    assert changes(rebuilt, lambda g: g.load(SELF)) == {
        "pf_fixed": 1,
        "exits": 1,
        "mmu_unsync": 1,
        "parent_marks": 3,
    }
    assert "mmu_unsync" not in changes(rebuilt, lambda g: g.load(SELF), "zap-children-invalid")
    written = changes(
        lambda: rebuilt().load(SELF), lambda g: g.store(SELF + 0x28, 0), "zap-children-invalid"
    )
    assert (written["mmu_pte_write"], written["mmu_pte_updated"]) == (1, 1)


# Root, PDPT, and the two invalid ones: all but the root are freed, each by its own zap. The flush
# of unshadow() is still asked for, so nobody is interrupted again.
def test_reclaim_frees_the_invalid_children():
    assert changes(
        lambda: unshadow(unsynced(), PD),
        lambda g: g.add(EventKind.OP_ZAPALL),
        "zap-children-invalid",
    ) == {
        "mmu_shadow_zapped": 4,
        "flush_calls": 5,
        "reload_calls": 1,
        "active": -3,
        "n_free": 3,
    }


# Five pages and no root in use: CR3 has just been changed. A limit of 1: the root's zap takes both
# children along, PDPT and PD follow, and the base, which has counted three of five, goes on.
def lowered():
    guest = unsynced().table(11, {0: link(12)}).cr3(11 << 12)
    return limit(guest, 1)


def test_stopping_at_an_empty_list_saves_the_list_but_loses_a_page_of_the_limit():
    assert bug_of(lowered()) == words.BUG_EMPTY_LIST
    assert bug_of(lowered(), "zap-restart-walks") == words.BUG_EMPTY_LIST
    host = host_after(lowered(), "zap-list-empty")
    assert not host.machine.vm[words.BUG]
    counters = host.counters()
    assert counters["mmu_shadow_zapped"] == 5
    assert (counters["active"], counters["n_alloc"], counters["n_free"]) == (0, 1, 0)


# PD and PT share a hash bucket, frames 3 and 1027. The PD is made anew over the cached PT, so that
# PT is the node behind it; once it is out of sync, zapping the PD frees it.
def bucket():
    guest = Guest()
    guest.table(ROOT, {0: link(PDPT)}).table(PDPT, {0: link(PD)}).table(PD, {0: link(1027)})
    guest.table(1027, {0: link(100), 1: link(1027)}).boot(ROOT << 12)
    return unshadow(guest.load(0), PD).load(0).load(SELF)


def test_restarting_the_walk_saves_it_from_a_freed_page():
    assert bug_of(unshadow(bucket(), PD)) == words.BUG_USE_AFTER_FREE
    assert bug_of(unshadow(bucket(), PD), "zap-list-empty") == words.BUG_USE_AFTER_FREE
    for patch_ids in (("zap-restart-walks",), SELF_COUNTED, BATCH, ("zap-children-invalid",)):
        assert bug_of(unshadow(bucket(), PD), *patch_ids) == 0
    assert changes(bucket, lambda g: unshadow(g, PD), "zap-restart-walks") == {
        "mmu_shadow_zapped": 2,
        "flush_calls": 2,
        "mmu_unsync": -1,
        "active": -2,
        "n_free": 2,
    }


# Root, PDPT, PD and the tables 0 to 22: 26 of 30 pages, so the next fault reclaims, until 25 are
# free. The oldest is the root: in use, 0 freed. Then PDPT, PD and the tables 0 to 18 make 21. The
# fault goes on under the zapped root: three new pages. The reload it asked for then gives the root
# up, which is one more zap; a new root, a second fault that finds the three pages: done.
@pytest.mark.parametrize(("patch_ids", "flushes"), [(SELF_COUNTED, 23), (BATCH, 2)], ids=str)
def test_reclaim_in_a_batch_counts_what_is_about_to_be_freed(patch_ids, flushes):
    def crowded():
        guest = limit(two_tables().table(PD, {i: link(200 + i) for i in range(2, 24)}), 30)
        for frame in range(202, 224):
            guest.table(frame, {0: link(100)})
        for i in range(23):
            guest.load(i * FIRST_OF_PT2)
        return guest

    assert changes(crowded, lambda g: g.load(23 * FIRST_OF_PT2), *patch_ids) == {
        "mmu_recycled": 22,
        "mmu_shadow_zapped": 23,
        "flush_calls": flushes,
        "hw_flush": 1,
        "reload_calls": 1,
        "mmu_cache_miss": 4,
        "pf_fixed": 2,
        "exits": 2,
        "active": -18,
        "n_free": 18,
    }

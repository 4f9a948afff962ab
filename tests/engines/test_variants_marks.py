"""Patch 3 as merged, in its three steps, on scenarios worked out by hand."""

import pytest

from refault.engines.shadow.state import words
from tests.engines.variants import (
    OTHER,
    PD,
    PDPT,
    ROOT,
    SELF,
    changes,
    host_after,
    shadowed,
    synced_by_lookup,
)

COUNT = ("unsync-count-exact",)
CLEAR = (*COUNT, "unsync-clear-complete")
MERGED = (*CLEAR, "parent-stop-merged")


# PT has marked PD, PDPT and root. PT2 hangs below the same PD: on the base its way to the root is
# marked once more; as merged the walk stops at the PD, which had a marked child.
@pytest.mark.parametrize(
    ("patch_ids", "marks"), [((), 3), (COUNT, 3), (CLEAR, 3), (MERGED, 1)], ids=str
)
def test_marking_stops_at_a_parent_with_a_marked_child(patch_ids, marks):
    assert changes(lambda: shadowed().load(SELF), lambda g: g.load(OTHER), *patch_ids) == {
        "pf_fixed": 1,
        "exits": 1,
        "mmu_unsync": 1,
        "parent_marks": marks,
    }


def marks_of(host, frame):
    """The count and the bits of the page that shadows a table."""
    m = host.machine
    sp = m.vm[words.LIST_HEAD]
    while m.page[sp + words.GFN] != frame:
        sp = m.page[sp + words.LIST_NEXT]
    bitmap = m.page[sp + words.BITMAP : sp + words.BITMAP + 16]
    return m.page[sp + words.UNSYNC_CHILDREN], sum(int(word).bit_count() for word in bitmap)


# Loading the first root again walks its marks: root, PDPT, PD. PT is in sync, so the PD holds
# nothing, and the PDPT and the root forget it. The PD's own mark of PT only goes when a walk clears
# the marks of children that are in sync.
@pytest.mark.parametrize(
    ("patch_ids", "left"),
    [((), (1, 1)), (COUNT, (1, 1)), (CLEAR, (0, 0)), (MERGED, (0, 0))],
    ids=str,
)
def test_a_mark_whose_reason_is_gone_goes_only_with_complete_clearing(patch_ids, left):
    host = host_after(synced_by_lookup(), *patch_ids)
    assert marks_of(host, PD) == left
    assert marks_of(host, PDPT) == marks_of(host, ROOT) == (0, 0)


# PT goes out of sync again: three marks under each root. A walk that stops at the bit left behind
# in the PD never gets to the first root, so reloading CR3 does not sync PT: stale translations.
@pytest.mark.parametrize(
    ("patch_ids", "marks", "synced"),
    [((), 6, 1), (("parent-stop-bit",), 4, 0), (("parent-stop-count",), 4, 0), (MERGED, 6, 1)],
    ids=str,
)
def test_an_early_stop_is_sound_only_on_exact_marks(patch_ids, marks, synced):
    def again(guest):
        return guest.store(SELF + 0x800, 0)

    assert changes(synced_by_lookup, again, *patch_ids)["parent_marks"] == marks
    found = changes(lambda: again(synced_by_lookup()), lambda g: g.cr3(ROOT << 12), *patch_ids)
    assert found.get("synced", 0) == synced

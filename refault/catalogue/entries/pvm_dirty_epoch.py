"""PVM's idea of a dirty epoch per root, instead of marks in every ancestor.

What is simulated, since the proposal has no code: the VM counts epochs. A page that goes out of
sync is put at the head of the VM's list with a new epoch; nothing above it is touched. A root
remembers the epoch at which it was last synchronised. To synchronise it, the list is read from its
head down to that epoch, and each page that a climb over the links upward finds below the root is
synchronised. Linking a page that has an out-of-sync page below it begins an epoch too, after which
every root looks at the whole list once.

In the place of F-U1 (every link on the way to an out-of-sync page is marked) stands: an out-of-sync
page that a root reaches has an epoch above the root's, or a link was made since. F-U4 (nothing out
of sync is reachable after a sync) holds as before. F-U2 and F-U3 speak of marks, of which there are
none. Zapping a page leaves the out-of-sync pages below it, which only marks would find.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="pvm-dirty-epoch",
    title="PV MMU Design: a dirty epoch for each root instead of marked parents",
    author="after virt-pvm/linux issue 13",
    date="2024-10-08",
    summary=(
        "No ancestor is marked when a page goes out of sync. The page takes the next epoch of "
        "the VM; a root that is loaded looks only at pages newer than its own last sync, and "
        "synchronises those that it reaches. A link above an out-of-sync page makes every root "
        "look at all of them once."
    ),
    claim=(
        "A change of a kernel table that all processes share costs one page, not a mark in "
        "every root and a walk at every load of one."
    ),
    objection=(
        "What marking no longer does upwards, loading a root does: parent_marks counts both, so "
        "that the two can be compared."
    ),
    fate="A drawback of marks is described in the issue; no released kernel has this.",
    # Marks, and what is said of them, have no meaning.
    knobs={
        "sync_scope": values.SYNC_SCOPE_CHANGED,
        "parent_stop": values.PARENT_STOP_NOWHERE,
        "unsync_clear": values.UNSYNC_CLEAR_LAZILY,
        "unsync_count": values.UNSYNC_COUNT_ZEROED,
        "global_pages": values.GLOBAL_PAGES_SYNCED,
        "zap_children": values.ZAP_CHILDREN_ZAPPED,
    },
    requires=(),
    source="https://github.com/virt-pvm/linux/issues/13",
    short="pvm-epoch",
    reconstruction=(
        "The issue has no code for it. The list, the climb and the epoch of links are ours; it "
        "contradicts every patch about marks."
    ),
)

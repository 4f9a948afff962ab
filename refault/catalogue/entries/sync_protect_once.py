"""One piece of patch 6 as merged: write protection."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="sync-protect-once",
    title="Write protect a page once when it is synchronised",
    author="Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "mmu_sync_children() has write protected the pages it is about to synchronise, so "
        "synchronising one does not do it again. A synchronised entry stays read-only if its "
        "frame has any shadow page, since that page may be next."
    ),
    claim="Fewer walks of reverse maps at every load of a root.",
    objection=(
        "The first commit alone let a page be made writable that was about to be "
        "synchronised: stale translations. The second came as its fix."
    ),
    fate="Merged: f918b443527 and 36a2e6774bf (2.6.36).",
    knobs={"sync_protect": 1},
    requires=(),
    source="f918b443527, 36a2e6774bf",
    short="p6s",
    form_of="unsync-list-global",
)

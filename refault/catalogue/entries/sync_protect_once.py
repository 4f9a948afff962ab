"""One piece of patch 6 as merged: write protection."""

from __future__ import annotations

from refault.catalogue import values
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
    knobs={"sync_protect": values.SYNC_PROTECT_ONCE},
    requires=(),
    source="f918b443527, 36a2e6774bf",
    short="p6s",
    form_of="unsync-list-global",
    subjects=(
        "KVM: MMU: avoid double write protected in sync page path",
        "KVM: MMU: fix writable sync sp mapping",
    ),
    parts=(
        ("4baf3022f6ac7c4dbf743e529d320a54403ef2030d6626c0c9cd4ab634dd35b4",),
        ("06ce30d258bc0981251f0c36272a91e4fda350dcd0f96fa32b4f82d69c5ee6b0",),
    ),
    places={
        "4baf3022f6ac7c4dbf743e529d320a54403ef2030d6626c0c9cd4ab634dd35b4": (
            "c8a38aac:e10966c1 31a0a6cc:5cf16699 5cf16699:8193c1ae"
        ),
        "06ce30d258bc0981251f0c36272a91e4fda350dcd0f96fa32b4f82d69c5ee6b0": (
            "764be861:e70c3a92 eebd0278:31a0a6cc"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

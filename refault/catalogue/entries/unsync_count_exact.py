"""Patch 3 as merged, first of three steps."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-count-exact",
    title="Decrement the count when a mark is cleared",
    author="Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "mmu_unsync_walk() decrements unsync_children with every mark it clears, instead of "
        "setting it to zero once no mark is left."
    ),
    claim="A preparation: the count of marked children equals the number of marks.",
    objection="",
    fate="Merged: ebdea638df0 (2.6.36).",
    knobs={"unsync_count": values.UNSYNC_COUNT_EXACT},
    requires=(),
    source="ebdea638df0",
    short="p3m1",
    form_of="parent-stop-bit",
    subjects=("KVM: MMU: cleanup for __mmu_unsync_walk()",),
    diff_ids=("74f7e07fb71d47efbe309c6a914b6c3778c01d3aa2ff00796debda57c463b2cc",),
    places={
        "74f7e07fb71d47efbe309c6a914b6c3778c01d3aa2ff00796debda57c463b2cc": (
            "321e3b9c:56283d6c 56283d6c:08eb040a :aa76b693"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

"""Patch 1 of the series: a structure that nothing uses any more. No behaviour, so no knob."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-walk-struct",
    title="[PATCH 1/6] remove struct kvm_unsync_walk",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary="Removes 'struct kvm_unsync_walk', which nothing uses any more.",
    claim="No functional change.",
    objection="",
    fate="Merged: 1b8c7934a40 (2.6.35-rc1).",
    knobs={},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 12:59 am; complete in the thread",
    short="p1",
    merged_in={"v2.6.35.6": "as 1b8c7934a40"},
    subjects=(
        "KVM MMU: remove unused struct",
        "KVM: MMU: remove unused struct kvm_unsync_walk",
    ),
    diff_ids=("fab79743eae38dd2a42370e5ae9bd6d5a5434083bf8b6239f610a81e46c05477",),
    places={
        "fab79743eae38dd2a42370e5ae9bd6d5a5434083bf8b6239f610a81e46c05477": ("958a990a:06849526"),
    },
    files=("arch/x86/kvm/mmu.c",),
)

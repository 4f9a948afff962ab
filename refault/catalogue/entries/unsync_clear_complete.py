"""Patch 3 as merged, second of three steps."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-clear-complete",
    title="Clear every mark without a reason",
    author="Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "mmu_unsync_walk() also clears the marks of children that are absent, large, or in "
        "sync with nothing out of sync below."
    ),
    claim="A preparation for the early stop: a set mark always has a reason.",
    objection="",
    fate="Merged: 7a8f1a74e41 (2.6.36), whose message says what it prepares.",
    knobs={"unsync_clear": values.UNSYNC_CLEAR_AT_ONCE},
    requires=("unsync-count-exact",),
    source="7a8f1a74e41",
    short="p3m2",
    form_of="parent-stop-bit",
    subjects=("KVM: MMU: clear unsync_child_bitmap completely",),
    diff_ids=(
        "b1c272f34444590248cdaa2a4f2d504e93e1d309211024ac071f2eff97942940",
        "811a0593046834caf6a7dbc10b2c513f168b0d988ceed99811216ae0f817445d",
    ),
    places={
        "b1c272f34444590248cdaa2a4f2d504e93e1d309211024ac071f2eff97942940": (
            "42ee4615:a3cd05c5 a3cd05c5: :"
        ),
        "811a0593046834caf6a7dbc10b2c513f168b0d988ceed99811216ae0f817445d": (
            "42ee4615:a3cd05c5 a3cd05c5: : : :"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

"""The other half of what was asked for patch 2: restart every walk."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-restart-walks",
    title="Patch 2, Avi Kivity's half: restart every walk after a zap that took children",
    author="after Avi Kivity",
    date="2010-04-12",
    summary=(
        "Every hash and list walk starts again after a zap that took children, instead of "
        "going on at a node that may be gone. What a zap answers and how the page limit is "
        "lowered stay as they are. A flooded page whose zap took children is not counted in "
        "mmu_flooded."
    ),
    claim="'goto restart' closes the use after free and is easier to read than a changed iterator.",
    objection="The page limit is still lowered by a wrong count, and the list can still run empty.",
    fate="Merged: 3246af0ece6 (2.6.35-rc1).",
    knobs={"hash_restart": values.HASH_RESTART_EVERY_WALK},
    requires=(),
    source="Avi Kivity's reply of 12 April 2010 in the same thread, and 3246af0ece6",
    short="p2walks",
    form_of="zap-account",
    reconstruction="On its own it was never a patch: the commit came on top of zap-merged.",
    merged_in={"v2.6.35.6": "as 3246af0ece6"},
    subjects=("KVM: MMU: cleanup for hlist walk restart",),
    diff_ids=("009ad34b314f9bbfe18d17ce85582efa219cf8f4dadab4f90a51951a810383f8",),
    places={
        "009ad34b314f9bbfe18d17ce85582efa219cf8f4dadab4f90a51951a810383f8": (
            "10e590fc:b5579434 133ca05b:6281c530 10e590fc:734130b7 133ca05b: "
            "4aab2fe6:ef03795b 8381bbf1:0cc8c480 ab50bc0a:8acc7dbe "
            "133ca05b:14c26b6f"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

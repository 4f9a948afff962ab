"""Patch 2 as it went into 2.6.34."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-merged",
    title="Patch 2 as merged",
    author="Xiao Guangrong",
    date="2010-04-16",
    summary=(
        "As posted, and: the loop that lowers the page limit also ends at an empty list, and "
        "the limit becomes the number of pages that are left."
    ),
    claim="No page of the budget is lost for good when the limit is lowered.",
    objection=(
        "The limit can end below the request, and roots in use still count as freed, until "
        "54a4f0239f2 (2.6.36)."
    ),
    fate="Merged: 77662e0028c (2.6.34-rc6, marked for stable).",
    knobs={
        "zap_return": values.ZAP_RETURN_CHILDREN,
        "hash_restart": values.HASH_RESTART_UNSHADOW,
        "limit_loop": values.LIMIT_LOOP_CHILDREN_UNTIL_EMPTY,
    },
    requires=(),
    source="release 2.6.34",
    short="p2merged",
    form_of="zap-account",
    merged_in={"v2.6.35.6": "as 77662e0028c and 3246af0ece6"},
    subjects=("KVM: MMU: fix kvm_mmu_zap_page() and its calling path",),
    diff_ids=("cbb202c1826ed0cf8bc613c84d403d82afb1bcb694f5a6dd32b2c5369bb5d51c",),
    places={
        "cbb202c1826ed0cf8bc613c84d403d82afb1bcb694f5a6dd32b2c5369bb5d51c": (
            "2ef75f40: :b70a7d60 65ef77c1:86215a50 d71a10d4:61edb694 61edb694:a0df23f2 d695f797:"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

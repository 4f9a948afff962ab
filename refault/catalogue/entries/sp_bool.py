"""Patch 5 as merged."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="sp-bool",
    title="Patch 5 as merged: bool instead of int",
    author="Xiao Guangrong",
    date="2010-04-16",
    summary="'multimapped' of struct kvm_mmu_page becomes a bool and stands beside 'unsync'.",
    claim="A smaller struct, and no accessors.",
    objection="",
    fate=(
        "Merged: 0571d366e0b (2.6.35-rc1), \"reduce 'struct kvm_mmu_page' size\". The struct "
        "shrinks on i386 only."
    ),
    knobs={},
    requires=(),
    source="0571d366e0b",
    short="p5bool",
    form_of="sp-flags-word",
    merged_in={"v2.6.35.6": "as 0571d366e0b"},
    layout="bool",
    subjects=("KVM: MMU: reduce 'struct kvm_mmu_page' size",),
    diff_ids=("4591df7e3ca1bb368efc7282f48b3433f19e5ff41c0179c5b2fb916909d76057",),
    places={
        "4591df7e3ca1bb368efc7282f48b3433f19e5ff41c0179c5b2fb916909d76057": (
            "5eb1bd8a:b6736743 b6736743:28657449"
        ),
    },
    files=("arch/x86/include/asm/kvm_host.h",),
)

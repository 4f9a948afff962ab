"""Patch 2, a year of kernels later: a zap answers what it freed."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-return-self",
    title="Make kvm_mmu_zap_page() return the number of pages it actually freed",
    author="Gui Jianfeng",
    date="2010-05-05",
    summary=(
        "A zap answers how many pages it freed, the page itself included, and 0 for a root in"
        " use. Callers no longer count the page themselves. It brings along what it was "
        "applied to: restarts in every walk, the test for an empty list, a limit that "
        "follows, a shrinker that counts children."
    ),
    claim=(
        "A root that a vCPU runs on is not freed by its zap, so counting it as freed lets the"
        " page limit drift."
    ),
    objection=(
        "Every zap that frees now restarts its walk; a walk restarted after each flooded page"
        " no longer counts any in mmu_flooded. With more roots in use than the limit allows, "
        "the loop that lowers it never ends."
    ),
    fate="Merged: 54a4f0239f2 (2.6.36), on top of 77662e0028c, 3246af0ece6 and d35b8dd9355.",
    knobs={
        "zap_return": values.ZAP_RETURN_FREED,
        "hash_restart": values.HASH_RESTART_EVERY_WALK,
        "limit_loop": values.LIMIT_LOOP_CHILDREN_UNTIL_EMPTY,
        "shrink_count": values.SHRINK_COUNT_CHILDREN,
    },
    requires=(),
    source="54a4f0239f2",
    short="p2self",
    form_of="zap-account",
    subjects=("KVM: MMU: make kvm_mmu_zap_page() return the number of pages it actually freed",),
    diff_ids=("48d234463e42a4ac3ce099759b678d129d5b2f50d5a63901b72e4461f1c705ac",),
    places={
        "48d234463e42a4ac3ce099759b678d129d5b2f50d5a63901b72e4461f1c705ac": (
            "2da385ca:e948bb3b f05c7829:0aeb105c d71a10d4:a3aed674"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

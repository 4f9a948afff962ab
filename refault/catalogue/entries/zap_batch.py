"""Patch 2 in its final form of 2.6.36: prepare, then commit."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-batch",
    title="Prepare and commit a zap: one remote flush for all pages zapped together",
    author="Xiao Guangrong",
    date="2010-06-04",
    summary=(
        "A zapped page becomes invalid, leaves the active list and stays in its hash bucket; "
        "when the caller is done, one remote flush is made and all of them are freed. No walk"
        " can find a freed page, so none restarts. Roots in use need no flush of their "
        "own."
    ),
    claim=(
        "Fewer remote flushes, and hash walks that are safe without restarts: Avi Kivity's "
        "wish from the thread in another form."
    ),
    objection="",
    fate="Merged: 7775834a233, d98ba053656 and f41d335a02d (2.6.36).",
    knobs={"zap_commit": values.ZAP_COMMIT_BATCH},
    requires=("zap-return-self",),
    source="7775834a233, d98ba053656, f41d335a02d",
    short="p2batch",
    form_of="zap-account",
    reconstruction="Which walks look at invalid pages stays as the base has it.",
    subjects=(
        "KVM: MMU: split the operations of kvm_mmu_zap_page()",
        "KVM: MMU: gather remote tlb flush which occurs during page zapped",
        "KVM: MMU: traverse sp hlish safely",
    ),
    parts=(
        ("b95e0e5294862bcc78ddfa35b7d22a113bcd381e6057f17d266375dc795885be",),
        ("f884447527d31827a6488ac3cc89014aa030ee415ebce764c084fadb696dd045",),
        ("7eb0b134d8470ee202af255ad4c09548bf3679d2ec195b86609d1141a97550d4",),
    ),
    files=(
        "arch/x86/kvm/mmu.c",
        "arch/x86/kvm/mmutrace.h",
    ),
)

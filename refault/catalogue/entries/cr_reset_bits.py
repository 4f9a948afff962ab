"""What 2.6.36 did about needless context resets."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr-reset-bits",
    title="Reset the MMU context only for bits that matter to it",
    author="Sheng Yang",
    date="2010-05-12",
    summary=(
        "A write to CR4 drops the roots only if PGE, PSE or PAE changes; one to CR0 only if "
        "PG, WP, CD or NW does."
    ),
    claim="Other bits do not change how tables are walked.",
    objection=(
        "PGE is among the bits, so the toggling that patch 4 is about costs as much as before."
    ),
    fate="Merged: aad827034e4 (2.6.36).",
    knobs={"cr_reset": values.CR_RESET_BITS},
    requires=(),
    source="aad827034e4",
    short="p4b",
    form_of="cr4-posted",
    subjects=("KVM: VMX: Only reset MMU when necessary",),
    diff_ids=("2ceea979c20a816dbd2902f0e91c2aedf194ca9cb1b11bdcbbe6b0652fdd8138",),
    places={
        "2ceea979c20a816dbd2902f0e91c2aedf194ca9cb1b11bdcbbe6b0652fdd8138": (
            "62f5d6ab:2aa68dd5 df574eb4:71450af6 b9fd39c7:71450af6 "
            "d9b01c8a:9afae33e c09c0d6f:71450af6"
        ),
    },
    files=("arch/x86/kvm/x86.c",),
)

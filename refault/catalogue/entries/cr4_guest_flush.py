"""The idea of patch 4 as it was merged eleven years later."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-guest-flush",
    title="A change of CR4.PGE requests a flush of the guest's TLB",
    author="Lai Jiangshan",
    date="2021",
    summary=(
        "A write to CR4 drops the roots only if PSE or PAE changes. A change of PGE is stored"
        " and asks for a flush that the next entry carries out: the roots are synchronised "
        "and the TLB is flushed once."
    ),
    claim="A toggle of PGE flushes translations; it changes nothing about how tables are walked.",
    objection="",
    fate="Merged: 5.16.",
    knobs={"cr4_write": values.CR4_WRITE_REQUESTS},
    requires=("cr4-norole",),
    source="release 5.16",
    short="p4f",
    form_of="cr4-posted",
    reconstruction=(
        "Written from a description of what 5.16 does, not from its code; 5.16's other "
        "changes are left out."
    ),
    subjects=("KVM: X86: Don't reset mmu context when toggling X86_CR4_PGE",),
    diff_ids=("76873fe25b226a74cf2d9d55bd01ee6962ab157def7f713f849659f9ffad0a1e",),
    places={
        "76873fe25b226a74cf2d9d55bd01ee6962ab157def7f713f849659f9ffad0a1e": (
            "0c067ae2:a186c060 c09c0d6f:1c7d8963"
        ),
    },
    files=(
        "arch/x86/kvm/mmu.h",
        "arch/x86/kvm/x86.c",
    ),
)

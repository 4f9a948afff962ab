"""Avi Kivity's answer to patch 4."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-norole",
    title="Take CR4.PGE out of the role",
    author="Avi Kivity",
    date="2010-04-19",
    summary=(
        "Shadow pages no longer depend on CR4.PGE. A write to CR4 still drops the roots, but "
        "the next entry finds the same pages again."
    ),
    claim=(
        "Nothing relies on the separation since the optimisation for global pages went in "
        "2009; without it there is no second tree of shadow pages, and no table is kept from "
        "going out of sync by its twin."
    ),
    objection="",
    fate="Merged: 87bc3bf972a (2.6.35-rc1).",
    knobs={"role_cr4_pge": values.ROLE_CR4_PGE_ABSENT},
    requires=(),
    source="87bc3bf972a",
    short="p4n",
    form_of="cr4-posted",
    merged_in={"v2.6.35.6": "as 87bc3bf972a"},
    subjects=("KVM: MMU: Drop cr4.pge from shadow page role",),
    diff_ids=("1320e8972c8d596f1183e3a454224c4de5d8c5635657d6c9d0eff238d4e694af",),
    places={
        "1320e8972c8d596f1183e3a454224c4de5d8c5635657d6c9d0eff238d4e694af": (
            "c72f1a63:eab3597a e2ce2751:c976fe56 0e5f4930:bdd32c10 9a64a58e:c09c0d6f"
        ),
    },
    files=(
        "arch/x86/include/asm/kvm_host.h",
        "arch/x86/kvm/mmutrace.h",
        "arch/x86/kvm/x86.c",
    ),
)

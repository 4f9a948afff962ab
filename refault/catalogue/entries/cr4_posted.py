"""Patch 4 of the series: what a guest write to CR4 costs.

A guest flushes its global translations by toggling CR4.PGE. KVM answers each
write by dropping the roots, and keeps separate shadow pages for PGE on and off.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="cr4-posted",
    title="[PATCH 4/6] KVM MMU: optimize for writing cr4",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "kvm_set_cr4() returns at once if the value is the old one; if only PGE differs it "
        "synchronises the roots, flushes and returns. As posted it returns before the new "
        "value is stored: CR4.PGE can then never change."
    ),
    claim="A guest changes CR4.PGE to flush global pages: a TLB flush is enough, no reset.",
    objection=(
        "Avi Kivity: either revert the separation of shadow pages by cr4.pge, or restore the "
        "optimisation that relies on it; not sure which is best. Nobody mentions the lost "
        "store. The test for reserved bits is skipped too."
    ),
    fate=(
        "Not merged. 87bc3bf972a (2.6.35-rc1) took cr4.pge out of the role instead; "
        "aad827034e4 (2.6.36) resets only for bits that matter, PGE among them."
    ),
    knobs={"cr4_write": values.CR4_WRITE_FLUSHES},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:03 am; complete in the thread",
    short="p4",
    subjects=("KVM MMU: optimize for writing cr4",),
    diff_ids=("cec312295e1b6c7ff363a3e7de1953f426724435d540bf4bab514471bc3f3ebc",),
    places={
        "cec312295e1b6c7ff363a3e7de1953f426724435d540bf4bab514471bc3f3ebc": ("3e30268b:64d86ae4"),
    },
    elsewhere=("cr4-store",),
    files=("arch/x86/kvm/x86.c",),
)

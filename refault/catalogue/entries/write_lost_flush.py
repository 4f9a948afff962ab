"""Of 2.6.38: a leaf that loses W stays, and is flushed."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="write-lost-flush",
    title="Don't drop spte if overwrite it from W to RO",
    author="Xiao Guangrong and Marcelo Tosatti",
    date="2010",
    summary=(
        "Where a leaf with W is replaced by one without, by a fault, a table write or a sync, a "
        "remote flush is made and the leaf stays. Before there was none: a write protection "
        "that comes later finds no W and flushes nothing, while a TLB still allows writes to "
        "what has become a guarded table."
    ),
    claim="Write protection holds in TLBs too, at the price of one flush.",
    objection="",
    fate="Merged: 7905d9a, which dropped the leaf, and b330aa0, which keeps it (2.6.38).",
    knobs={"write_lost": values.WRITE_LOST_FLUSHED},
    requires=(),
    source="7905d9a, b330aa0; mmu.c of 2.6.38",
    short="e-keep",
    subjects=(
        "KVM: MMU: flush TLBs on writable -> read-only spte overwrite",
        "KVM: MMU: don't drop spte if overwrite it from W to RO",
    ),
    parts=(
        ("4d81d028cba138d557f5a9a08ba295e2d6fbab91b844a1e7c52f13886d596d16",),
        ("7a830dcd8cdcc319a4952b7738b71a290ddcd6404d7d6375faa5a3da502b1acc",),
    ),
    places={
        "4d81d028cba138d557f5a9a08ba295e2d6fbab91b844a1e7c52f13886d596d16": ("fa01d396:7a6dc116"),
        "7a830dcd8cdcc319a4952b7738b71a290ddcd6404d7d6375faa5a3da502b1acc": (
            "9e24a01e:93045527 733053d2:a7f1a12f fa01d396:7a6dc116"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

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
    files=("arch/x86/kvm/mmu.c",),
)

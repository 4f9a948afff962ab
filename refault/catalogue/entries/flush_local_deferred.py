"""One piece of patch 6 as merged: local flushes."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="flush-local-deferred",
    title="Defer the local flush to the next entry",
    author="Xiao Guangrong",
    date="2010-06-08",
    summary=(
        "A local flush only sets the vCPU's request; the next entry flushes once, whatever "
        "the number of requests. tlb_flush still counts every call, hw_flush the flushes made. "
        "Another vCPU's remote flush finds the request set and sends no interrupt."
    ),
    claim="Repeated flushes become one, and later ones save interrupts.",
    objection="",
    fate="Merged: 3b5d1321866 (2.6.36).",
    knobs={"local_flush": values.LOCAL_FLUSH_AT_ENTRY},
    requires=(),
    source="3b5d1321866",
    short="p6d",
    form_of="unsync-list-global",
    reconstruction="The flush after a refused write is still immediate and uncounted.",
    subjects=("KVM: MMU: delay local tlb flush",),
    diff_ids=("a10e719d20482f4c91e2a8c5585ea16e4a94a1f37a527dbf0d64565243881ba7",),
    places={
        "a10e719d20482f4c91e2a8c5585ea16e4a94a1f37a527dbf0d64565243881ba7": ("4358a6c8:69fbcc84"),
    },
    files=("arch/x86/kvm/mmu.c",),
)

"""One piece of patch 6 as merged: table writes."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="write-flush-once",
    title="One flush for an emulated table write",
    author="Xiao Guangrong",
    date="2010-06-04",
    summary=(
        "An emulated write to a page table makes one flush at its end instead of one for each"
        " shadow entry: a remote one if any entry needs it, else a local one; none if a page "
        "zapped by the write brings a flush of its own (zap-batch)."
    ),
    claim="Fewer flushes when a table is shadowed more than once.",
    objection="",
    fate="Merged: 0671a8e75d8 (2.6.36).",
    knobs={"write_flush": values.WRITE_FLUSH_ONCE},
    requires=(),
    source="0671a8e75d8",
    short="p6w",
    form_of="unsync-list-global",
    subjects=("KVM: MMU: reduce remote tlb flush in kvm_mmu_pte_write()",),
    diff_ids=("9736e9b669b12219467701f1dc927439bddcab57d82a964a102d2f604b7772d2",),
    places={
        "9736e9b669b12219467701f1dc927439bddcab57d82a964a102d2f604b7772d2": (
            "823daf0f: :fa01d396 fa01d396:079b54ad fb074da2:70972690 "
            "9cc9efb3:21708f64 0bf37874:62ad4825 0479bb6c:adc88a69 "
            "adc88a69:6ecd97fe"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

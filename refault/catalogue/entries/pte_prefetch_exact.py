"""The fix of prefetching in 2.6.38."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.entries.pte_prefetch import NOT_BEFORE_35
from refault.catalogue.model import Patch

PATCH = Patch(
    id="pte-prefetch-exact",
    title="Prefetch ptes, and report reserved bits",
    author="Xiao Guangrong",
    date="2010",
    summary=(
        "As pte-prefetch, but an entry with reserved bits is left as it is: its fault exits, and "
        "the guest gets the error code with RSVD."
    ),
    claim="The guest's fault has the error code of the processor.",
    objection="",
    fate="Merged: e730b63cc08 (2.6.38).",
    knobs={"prefetch": values.PREFETCH_EXACT},
    requires=(),
    source="957ed9e, 189be38, e730b63cc08",
    short="e-prefetch-x",
    not_on={"v2.6.34-pre": NOT_BEFORE_35, "kvm-2010-04": NOT_BEFORE_35},
    reconstruction=(
        "Every frame in a slot is in the host's memory: no lookup of one fails. In a direct page "
        "frames are counted from the leaf's, since the base has the page's first one wrong. A mail "
        "of the fix stands for the whole here: beside pte-prefetch, leave that one out."
    ),
    subjects=("KVM: MMU: don't mark spte notrap if reserved bit set",),
    diff_ids=("803c480a93248cc95f9e076e0be1028f48fe63db2900e6added01169c5fa31fd",),
    places={
        "803c480a93248cc95f9e076e0be1028f48fe63db2900e6added01169c5fa31fd": (
            "df1db777:d2500d17 0df4b205:0e3b502d b9a21c84:041cb0bf 041cb0bf:4a737679"
        ),
    },
    files=("arch/x86/kvm/paging_tmpl.h",),
)

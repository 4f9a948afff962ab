"""Of 2.6.36: an out-of-sync page that is linked again stays out of sync."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="sync-transient",
    title="Don't write protect if there is a new mapping to an unsync page",
    author="Xiao Guangrong",
    date="2010-05",
    summary=(
        "A fault that links an out-of-sync page again updates the page and leaves it out of "
        "sync and writable; the parents are marked. Pages of the same table in other roles "
        "are left alone, unless the table gets one more shadow page: then they are "
        "synchronised, and the table is write protected."
    ),
    claim="Fewer faults of a guest that fills a table which several address spaces share.",
    objection="",
    fate="Merged: 1d9dc7e and e02aa90 (2.6.36).",
    knobs={"relink_sync": values.RELINK_SYNC_TRANSIENT},
    requires=(),
    source="1d9dc7e, e02aa90; mmu.c of 2.6.38",
    short="e-trans",
    subjects=(
        "KVM: MMU: split kvm_sync_page() function",
        "KVM: MMU: don't write-protect if have new mapping to unsync page",
    ),
    parts=(
        ("f09c90b8dfaa72598b251bbdeaf268f7a4f9548c53bce9ed163955ebb0a697f5",),
        ("b322241dc17b8aae6e8bb6a7a906668fa8d1da3de62f42c9012ee3a47281852c",),
    ),
    places={
        "b322241dc17b8aae6e8bb6a7a906668fa8d1da3de62f42c9012ee3a47281852c": (
            "b3f340b5:596e92f8 a3380265:ea48b221 0bf37874:15ce7894 5d9df62d:b56bb952 "
            "0071802f:2723e0ec"
        ),
    },
    files=("arch/x86/kvm/mmu.c",),
)

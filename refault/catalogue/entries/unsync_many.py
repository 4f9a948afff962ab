"""Of 2.6.36: the one-role rule of out-of-sync pages falls."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-many",
    title="Allow more pages become unsync at gfn mapping time and at getting sp time",
    author="Xiao Guangrong",
    date="2010-05",
    summary=(
        "A table shadowed in several roles goes out of sync with all its level-1 pages, which "
        "the base refuses; only a shadow page of a higher level prevents it. With "
        "sync-transient a new level-1 page of the table leaves the others out of sync, and a "
        "new page of a higher level synchronises them all. The invariant F-W2 loses its second "
        "half: an out-of-sync page need not be its table's only shadow."
    ),
    claim=(
        "Tables of 32-bit guests, and those reached with different permissions, are no longer "
        "emulated store by store."
    ),
    objection="",
    fate="Merged: 9cf5cf5 and 9f1a122 (2.6.36).",
    knobs={"unsync_roles": values.UNSYNC_ROLES_ALL},
    requires=(),
    source="9cf5cf5, 9f1a122; mmu.c of 2.6.38",
    short="e-many",
    subjects=(
        "KVM: MMU: allow more page become unsync at gfn mapping time",
        "KVM: MMU: allow more page become unsync at getting sp time",
    ),
    parts=(
        ("95f1c74cd27c531dd9dbd6560e862d2e5a7e159311bed3d2f01d9ada926b60be",),
        ("cc56a963b34bf48f5221f41ac60f92ba6a53dd6f996bb39505b635462e204d52",),
    ),
    files=("arch/x86/kvm/mmu.c",),
)

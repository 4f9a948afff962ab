"""Of 2.6.37: a page fault maps its neighbours too."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

NOT_BEFORE_35 = (
    "direct pages below a large guest page lack the permissions of its entry there, so what "
    "is prefetched into them could be more than the guest grants"
)
PATCH = Patch(
    id="pte-prefetch",
    title="Prefetch ptes when intercepted guest #PF",
    author="Xiao Guangrong",
    date="2010-08",
    summary=(
        "After the leaf of a page fault the entries of the same group of eight are mapped that "
        "are absent in the shadow, and present and accessed in the guest's table. The first "
        "without a frame in memory ends the group. An absent entry becomes one whose fault "
        "needs no exit; so does one with reserved bits, by mistake."
    ),
    claim="Fewer page faults where a guest walks through memory.",
    objection="",
    fate="Merged: 957ed9e and 189be38 (2.6.37).",
    knobs={"prefetch": values.PREFETCH_LOOSE},
    requires=(),
    source="957ed9e, 189be38; mmu.c and paging_tmpl.h of 2.6.38",
    short="e-prefetch",
    not_on={"v2.6.34-pre": NOT_BEFORE_35, "kvm-2010-04": NOT_BEFORE_35},
    reconstruction=(
        "Every frame in a slot is in the host's memory: no lookup of one fails. In a direct page "
        "frames are counted from the leaf's, since the base has the page's first one wrong."
    ),
    subjects=(
        "KVM: MMU: prefetch ptes when intercepted guest #PF",
        "KVM: MMU: combine guest pte read between fetch and pte prefetch",
    ),
    parts=(
        ("a0caab3ca84d828e857af0fd4ecf6b0453296a9c7795dc1f2444a6b86504bd80",),
        ("ad308799befc7a401d1a539787ee8e5c579351b6c72e3d393319b0bf584975b7",),
    ),
    files=("arch/x86/kvm/mmu.c", "arch/x86/kvm/paging_tmpl.h"),
)

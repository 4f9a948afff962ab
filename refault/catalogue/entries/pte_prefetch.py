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
    files=("arch/x86/kvm/mmu.c", "arch/x86/kvm/paging_tmpl.h"),
)

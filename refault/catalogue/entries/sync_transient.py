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
    files=("arch/x86/kvm/mmu.c", "arch/x86/kvm/paging_tmpl.h"),
)

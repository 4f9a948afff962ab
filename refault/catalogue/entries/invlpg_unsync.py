"""Of 2.6.36: INVLPG leaves pages that are in sync alone."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="invlpg-unsync",
    title="Only update unsync page in invlpg path",
    author="Xiao Guangrong",
    date="2010",
    summary=(
        "INVLPG drops and maps again the leaf of its address only in a page that is out of "
        "sync, to which it descends by the marks. A leaf of a page in sync is what the guest's "
        "entry says, so it stays."
    ),
    claim="Fewer table writes, flushes and faults after INVLPG.",
    objection="",
    fate="Merged: f78978a (2.6.36).",
    # Pages of global entries are out of sync without marks: INVLPG would miss them.
    knobs={
        "invlpg_scope": values.INVLPG_SCOPE_UNSYNC,
        "global_pages": values.GLOBAL_PAGES_SYNCED,
    },
    requires=(),
    source="f78978a; paging_tmpl.h of 2.6.38",
    short="e-invlpg",
    reconstruction=(
        "It relies on the marks, so it contradicts global-pages, which leaves pages out of sync "
        "without any."
    ),
    subjects=("KVM: MMU: only update unsync page in invlpg path",),
    diff_ids=("015feca0e27d11cfa9679bd1d95a5aafc358676adb6b8a20256ffa8710e3b1cb",),
    places={
        "015feca0e27d11cfa9679bd1d95a5aafc358676adb6b8a20256ffa8710e3b1cb": (
            "ad4a5e8a:dd5ad30c b79fff66:31506db7 31506db7:b9bc870e b9bc870e:d6e84399 "
            "42af036c:42af036c"
        ),
    },
    files=("arch/x86/kvm/paging_tmpl.h",),
)

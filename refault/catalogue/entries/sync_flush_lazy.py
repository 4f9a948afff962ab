"""Of 2.6.38: a sync that drops leaves owes a flush."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="sync-flush-lazy",
    title="Delay flush all tlbs on sync_page path",
    author="Xiao Guangrong",
    date="2010",
    summary=(
        "A sync that drops leaves counts them and flushes no other vCPU. The next remote flush "
        "clears the count; when the host takes a frame away and the count is not zero, it "
        "flushes although no leaf maps the frame any more."
    ),
    claim=(
        "The host never frees a page that a TLB still reaches, and a sync costs no remote flush."
    ),
    objection="",
    fate="Merged: a4ee1ca4a36, after 30bfb3c4256, which flushed in each sync (2.6.38).",
    knobs={"sync_drop": values.SYNC_DROP_NOTED},
    requires=(),
    source="a4ee1ca4a36; kvm_main.c and paging_tmpl.h of 2.6.38",
    short="e-lazy",
    subjects=("KVM: MMU: delay flush all tlbs on sync_page path",),
    diff_ids=("62eeba53d6eadfcc5d0210d04f1d6ed8e8dc0505e617e49790953e13fb8f1f59",),
    files=("arch/x86/kvm/paging_tmpl.h", "include/linux/kvm_host.h", "virt/kvm/kvm_main.c"),
)

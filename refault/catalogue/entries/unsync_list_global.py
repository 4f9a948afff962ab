"""Patch 6 of the series: which out-of-sync pages loading a root synchronises."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Beginning, Patch

PATCH = Patch(
    id="unsync-list-global",
    title="[PATCH 6/6] chain unsync pages, flush once",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "All out-of-sync shadow pages are on one global list. Loading a root write "
        "protects and synchronises every page of the list, and flushes once at the end "
        "instead of once for each page."
    ),
    claim="Out-of-sync pages are fetched quickly, and there are fewer TLB flushes.",
    objection=(
        "Avi Kivity: will the list ever be short? There is usually a ton. And it is counter to "
        "the point of going out of sync: only pages reachable from the new root should be "
        "synchronised, the rest stay writable to save faults. The list also spans VMs. Xiao "
        "Guangrong: it needs more cooking."
    ),
    fate=(
        "The list was never merged. The single flush came piece by piece: d98ba053656, "
        "0671a8e75d8, 3b5d1321866, f918b443527 (2.6.36), a4ee1ca4a36 (2.6.38)."
    ),
    knobs={"sync_scope": values.SYNC_SCOPE_LISTED},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:06 am; cut off after the upkeep of the list",
    short="p6",
    reconstruction=(
        "The mail is cut off in the archived thread: the list's upkeep is as posted, the loop "
        "that synchronises is reconstructed from its description."
    ),
    subjects=("KVM MMU: optimize synchronization shadow pages",),
    beginning=Beginning(
        4, "f1299e9f27b64176284f1fbcb92c206f83346afd5f533518d96c83d16d34ee58", added=39, removed=44
    ),
    files=(
        "arch/x86/include/asm/kvm_host.h",
        "arch/x86/kvm/mmu.c",
    ),
)

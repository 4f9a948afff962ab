"""The switches for what kernels after the series do, and for what PVM proposes.

They follow those of :mod:`refault.catalogue.knobs`, and are 0 in every base.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.knob import Knob

LATER: tuple[Knob, ...] = (
    Knob(
        name="relink_sync",
        question="What becomes of an out-of-sync page that a fault looks up?",
        values={
            values.RELINK_SYNC_WHOLE: (
                "every out-of-sync page of the table is synced, and the table write protected"
            ),
            values.RELINK_SYNC_TRANSIENT: (
                "the page that is wanted is updated and stays out of sync and writable; the others "
                "are synced only if the table gets one more shadow page"
            ),
        },
        source="kvm_mmu_get_page, kvm_sync_page_transient",
    ),
    Knob(
        name="unsync_roles",
        question="May a table that is shadowed in more than one role go out of sync?",
        values={
            values.UNSYNC_ROLES_ONE: "no",
            values.UNSYNC_ROLES_ALL: (
                "yes, all its pages together, unless one has a higher level than 1"
            ),
        },
        source="kvm_unsync_pages, mmu_need_write_protect, kvm_sync_pages",
    ),
    Knob(
        name="invlpg_scope",
        question="Which leaves does INVLPG drop?",
        values={
            values.INVLPG_SCOPE_EVERY: "that of the address, wherever it is",
            values.INVLPG_SCOPE_UNSYNC: "that of the address, if its page is out of sync",
        },
        source="invlpg",
    ),
    Knob(
        name="prefetch",
        question="Does a page fault also map the guest's entries next to the one that faulted?",
        values={
            values.PREFETCH_NONE: "no",
            values.PREFETCH_LOOSE: (
                "yes, those of its group of eight that were accessed; an absent one, or one with "
                "reserved bits, is hidden from the host"
            ),
            values.PREFETCH_EXACT: (
                "yes, those of its group of eight that were accessed; an absent one is hidden from "
                "the host"
            ),
        },
        source="pte_prefetch, direct_pte_prefetch",
    ),
    Knob(
        name="write_lost",
        question="Is there a remote flush when a leaf is replaced by one without W?",
        values={
            values.WRITE_LOST_SILENT: "no",
            values.WRITE_LOST_FLUSHED: "yes; the leaf stays",
        },
        source="set_spte",
    ),
    Knob(
        name="sync_drop",
        question="Is the TLB flushed of leaves that a sync drops?",
        values={
            values.SYNC_DROP_SILENT: "no",
            values.SYNC_DROP_NOTED: "at the next remote flush, or when the host takes a frame away",
        },
        source="sync_page, kvm_flush_remote_tlbs, kvm_mmu_notifier_invalidate_page",
    ),
    Knob(
        name="fault_return",
        question="What happens when the guest returns from a #PF that was injected?",
        values={
            values.FAULT_RETURN_PLAIN: "nothing: the access faults once more, to be mapped",
            values.FAULT_RETURN_PREFAULTS: "the page is mapped before the access is tried again",
        },
        source="virt-pvm/linux issues 16 and 27",
    ),
    Knob(
        name="table_write",
        question="How does the host learn of a store to a shadowed table?",
        values={
            values.TABLE_WRITE_TRAPPED: "the table is write protected, or synced later",
            values.TABLE_WRITE_QUEUED: (
                "the guest notes it, and calls before it flushes or when 64 are noted; no table is "
                "write protected"
            ),
        },
        source="virt-pvm/linux issue 13",
    ),
    Knob(
        name="root_pair",
        question="Are the two roots of an address space under PTI kept together?",
        values={
            values.ROOT_PAIR_DROPPED: "no: each load of CR3 drops the loaded root",
            values.ROOT_PAIR_KEPT: (
                "yes; switching needs no exit while nothing below the other one is out of sync"
            ),
        },
        source="virt-pvm/linux issues 13 and 14, pull request 15",
    ),
)

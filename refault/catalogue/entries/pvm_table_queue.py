"""PVM's table updates by hypercall, without write protection.

What is simulated: a store of the guest to a shadowed table costs no exit, and nothing goes out of
sync. The address of the word is noted in a queue of 64 of the VM. The guest calls the host before
each flush (a load of CR3, INVLPG, a write to CR0, CR4 or EFER) if anything is noted, and when the
queue is full; the host also reads it before it handles a page fault. Each word noted is then
treated as a table write is, but is never taken for flooding. The first store through a mapping that
is not there, or whose guest entry is clean, still faults, as any store does.

Invariants: F-W1 is replaced. The guest may write to a table whose shadow counts as in sync; what
holds is that a shadow entry which differs from the guest's is in the queue, and that the queue is
empty after each flush of any vCPU. So a translation is one that the tables gave since the last
flush (F-T3), for all pages, as it is for out-of-sync ones on the base; and F-T2 and F-T4 hold as
before. To see the stores the model keeps these leaves read-only, which it does not count; large
pages over tables stay split for the same reason.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="pvm-table-queue",
    title="PV MMU Design: table updates in batches, by hypercall, without write protection",
    author="after virt-pvm/linux issue 13",
    date="2024-10-08",
    summary=(
        "No table of the guest is write protected or out of sync. The guest notes each change of a "
        "shadowed table and makes one hypercall for all before it flushes, or for 64. hypercalls "
        "counts these, in place of emulated writes and of faults that let a table go out of sync."
    ),
    claim="No exits and no emulation for stores to tables: one hypercall for a batch.",
    objection=(
        "The guest has to be changed at every place that writes a table. A frame that is no table "
        "any more is noted until its shadows are reclaimed."
    ),
    fate="A proposal; no released kernel has this.",
    # Nothing goes out of sync: what is said of such pages has no meaning.
    knobs={
        "table_write": values.TABLE_WRITE_QUEUED,
        "sync_scope": values.SYNC_SCOPE_MARKED,
        "unsync_roles": values.UNSYNC_ROLES_ONE,
        "relink_sync": values.RELINK_SYNC_WHOLE,
        "invlpg_scope": values.INVLPG_SCOPE_EVERY,
        "global_pages": values.GLOBAL_PAGES_SYNCED,
    },
    requires=(),
    source="https://github.com/virt-pvm/linux/issues/13",
    short="pvm-queue",
    not_on={
        "v2.6.34-pre": "a table write there uses what the guest stored, and a batch has only places"
    },
    reconstruction="The size of the queue is ours, and that a fault reads it.",
)

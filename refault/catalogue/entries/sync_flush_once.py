"""The second half of patch 6 alone."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="sync-flush-once",
    title="Patch 6 without the list: synchronise as before, flush once",
    author="after Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "Out-of-sync pages are found by walking the marks, as before. The flushes of a "
        "synchronisation are collected: one remote and one local flush at its end. A page "
        "zapped on the way still brings the flush of its zap."
    ),
    claim="Fewer flushes, without giving up that only reachable pages are synchronised.",
    objection=(
        "A remote flush that comes after the entries were read is late: until then another "
        "processor may write to the table through its TLB. That cannot show in this model, "
        "where an operation is atomic."
    ),
    fate=(
        "Mainline later had one flush for each mmu_sync_children(), with the remote flush for "
        "write protection still before it."
    ),
    knobs={"sync_scope": values.SYNC_SCOPE_FLUSHED_ONCE},
    requires=(),
    source="the mail's description: flush after all pages are synchronised",
    short="p6once",
    form_of="unsync-list-global",
    reconstruction="It was never posted alone.",
)

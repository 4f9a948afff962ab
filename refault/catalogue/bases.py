"""The kernel code that patch sets are applied to."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Base

_V2_6_34_PRE = {
    "zap_return": values.ZAP_RETURN_PATH,
    "hash_restart": values.HASH_RESTART_NEVER,
    "limit_loop": values.LIMIT_LOOP_ZAPS,
    "parent_stop": values.PARENT_STOP_NOWHERE,
    "unsync_clear": values.UNSYNC_CLEAR_LAZILY,
    "cr4_write": values.CR4_WRITE_RESETS,
    "role_cr4_pge": values.ROLE_CR4_PGE_PRESENT,
    "sync_scope": values.SYNC_SCOPE_MARKED,
    "role_layout": values.ROLE_LAYOUT_LEVELS,
    "reserved_bits": values.RESERVED_BITS_LOOSE,
    "entry_read": values.ENTRY_READ_BY_PAGE,
    "invlpg_write": values.INVLPG_WRITE_NONE,
    "forced_write": values.FORCED_WRITE_FOR_ALL,
    "spte_overwrite": values.SPTE_OVERWRITE_SILENT,
    "direct_access": values.DIRECT_ACCESS_ABOVE,
    "notifier_index": values.NOTIFIER_INDEX_OFFSET,
    "shrink_count": values.SHRINK_COUNT_ONE,
    "sync_trace": values.SYNC_TRACE_TRIED,
    "zap_children": values.ZAP_CHILDREN_ZAPPED,
    "zap_commit": values.ZAP_COMMIT_EACH,
    "unsync_count": values.UNSYNC_COUNT_ZEROED,
    "cr_reset": values.CR_RESET_ALWAYS,
    "global_pages": values.GLOBAL_PAGES_SYNCED,
    "sync_protect": values.SYNC_PROTECT_TWICE,
    "write_flush": values.WRITE_FLUSH_EACH,
    "local_flush": values.LOCAL_FLUSH_AT_ONCE,
    "relink_sync": values.RELINK_SYNC_WHOLE,
    "unsync_roles": values.UNSYNC_ROLES_ONE,
    "invlpg_scope": values.INVLPG_SCOPE_EVERY,
    "prefetch": values.PREFETCH_NONE,
    "write_lost": values.WRITE_LOST_SILENT,
    "sync_drop": values.SYNC_DROP_SILENT,
    "fault_return": values.FAULT_RETURN_PLAIN,
    "table_write": values.TABLE_WRITE_TRAPPED,
    "root_pair": values.ROOT_PAIR_DROPPED,
}
_APRIL_2010 = {
    **_V2_6_34_PRE,
    "role_layout": values.ROLE_LAYOUT_SHADOWED_LEVELS,
    "reserved_bits": values.RESERVED_BITS_EXACT,
    "entry_read": values.ENTRY_READ_ONCE,
    "invlpg_write": values.INVLPG_WRITE_NO_QUADRANT,
}
_V2_6_35 = {
    **_APRIL_2010,
    "zap_return": values.ZAP_RETURN_CHILDREN,
    "hash_restart": values.HASH_RESTART_EVERY_WALK,
    "limit_loop": values.LIMIT_LOOP_CHILDREN_UNTIL_EMPTY,
    "role_cr4_pge": values.ROLE_CR4_PGE_ABSENT,
    "role_layout": values.ROLE_LAYOUT_PAE,
    "invlpg_write": values.INVLPG_WRITE_EXACT,
    "forced_write": values.FORCED_WRITE_FOR_SUPERVISOR,
    "spte_overwrite": values.SPTE_OVERWRITE_FLUSHES,
    "direct_access": values.DIRECT_ACCESS_OWN,
    "notifier_index": values.NOTIFIER_INDEX_FRAME,
    "shrink_count": values.SHRINK_COUNT_CHILDREN,
    "sync_trace": values.SYNC_TRACE_DONE,
}

BASES: tuple[Base, ...] = (
    Base(
        id="v2.6.34-pre",
        title="Linux 2.6.34 without patch 2 of the series",
        date="2010-05-16",
        commit="v2.6.34, less 77662e0028c",
        knobs=_V2_6_34_PRE,
    ),
    Base(
        id="kvm-2010-04",
        title="kvm.git of 12 April 2010, against which the series was written",
        date="2010-04-12",
        commit="mmu.c blob b44380bf64d8",
        knobs=_APRIL_2010,
    ),
    Base(
        id="v2.6.35.6",
        title="Linux 2.6.35.6, with patches 1, 2 and 5 as merged",
        date="2010-09-27",
        commit="v2.6.35.6",
        knobs=_V2_6_35,
    ),
)

#: Not a kernel, and changed by no patch: the base of an engine of its own.
ARCHITECTURE = Base(
    id="walk",
    title="The architecture alone: every access walks the guest's own tables, no hypervisor",
    date="2010-04-12",
    commit="Intel SDM 3A, chapter 4",
    knobs={},
    engine="walk",
)

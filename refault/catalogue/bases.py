"""The code patch sets are applied to."""

from __future__ import annotations

from refault.catalogue.model import Base

_V2_6_34_PRE = {
    "zap_return": 0,
    "hash_restart": 0,
    "limit_loop": 0,
    "parent_stop": 0,
    "unsync_clear": 0,
    "cr4_write": 0,
    "role_cr4_pge": 1,
    "sync_scope": 0,
    "role_layout": 0,
    "reserved_bits": 0,
    "entry_read": 0,
    "invlpg_write": 0,
    "forced_write": 0,
    "spte_overwrite": 0,
    "direct_access": 0,
    "notifier_index": 0,
    "shrink_count": 0,
    "sync_trace": 0,
    "zap_children": 0,
    "zap_commit": 0,
    "unsync_count": 0,
    "cr_reset": 0,
    "global_pages": 0,
    "sync_protect": 0,
    "write_flush": 0,
    "local_flush": 0,
}
_APRIL_2010 = {
    **_V2_6_34_PRE,
    "role_layout": 1,
    "reserved_bits": 1,
    "entry_read": 1,
    "invlpg_write": 1,
}
_V2_6_35 = {
    **_APRIL_2010,
    "zap_return": 1,
    "hash_restart": 2,
    "limit_loop": 3,
    "role_cr4_pge": 0,
    "role_layout": 2,
    "invlpg_write": 2,
    "forced_write": 1,
    "spte_overwrite": 1,
    "direct_access": 1,
    "notifier_index": 1,
    "shrink_count": 1,
    "sync_trace": 1,
}

BASES: tuple[Base, ...] = (
    Base(
        id="v2.6.34-pre",
        title="Linux 2.6.34 with patch 2 of the series taken back out",
        date="2010-05-16",
        commit="v2.6.34, less 77662e0028c",
        knobs=_V2_6_34_PRE,
    ),
    Base(
        id="kvm-2010-04",
        title="kvm.git of 12 April 2010, what the series was written against",
        date="2010-04-12",
        commit="mmu.c blob b44380bf64d8",
        knobs=_APRIL_2010,
    ),
    Base(
        id="v2.6.35.6",
        title="Linux 2.6.35.6, which has what became of patches 1, 2 and 5",
        date="2010-09-27",
        commit="v2.6.35.6",
        knobs=_V2_6_35,
    ),
)

#: What no patch changes: a base of its own engine.
ARCHITECTURE = Base(
    id="walk",
    title="The architecture alone: every access walks the guest's own tables, no hypervisor",
    date="2010-04-12",
    commit="Intel SDM 3A, chapter 4",
    knobs={},
    engine="walk",
)

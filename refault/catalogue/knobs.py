"""The switches of the simulated MMU: what a patch can set, and what each value means.

A variant has a value for every knob; :mod:`refault.catalogue.values` names the
values, and :mod:`refault.catalogue.bases` has those of each base. ``source``
names the functions of KVM that differ.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.knob import Knob
from refault.catalogue.knobs_later import LATER

KNOBS: tuple[Knob, ...] = (
    Knob(
        name="zap_return",
        question="What does mmu_zap_unsync_children() return?",
        values={
            values.ZAP_RETURN_PATH: "the length of the path vector, parents included",
            values.ZAP_RETURN_CHILDREN: "the number of children zapped",
            values.ZAP_RETURN_FREED: (
                "that; kvm_mmu_zap_page() adds the page itself, unless it stays as a root in use"
            ),
        },
        source="mmu_zap_unsync_children, kvm_mmu_zap_page",
    ),
    Knob(
        name="hash_restart",
        question="Where does a walk of a hash bucket continue after a zap that zapped children?",
        values={
            values.HASH_RESTART_NEVER: (
                "mmu_unshadow() continues at the next node, saved before the zap, even if freed"
            ),
            values.HASH_RESTART_UNSHADOW: "mmu_unshadow() restarts at the bucket's head",
            values.HASH_RESTART_EVERY_WALK: (
                "every walk restarts; a flooded page whose zap did that is not in mmu_flooded"
            ),
        },
        source="mmu_unshadow, kvm_mmu_unprotect_page, kvm_mmu_pte_write, kvm_mmu_zap_all",
    ),
    Knob(
        name="limit_loop",
        question="How does lowering the page limit count the pages it zaps?",
        values={
            values.LIMIT_LOOP_ZAPS: "one for each zap, whatever else it zapped",
            values.LIMIT_LOOP_CHILDREN: "the zapped page and its children",
            values.LIMIT_LOOP_UNTIL_EMPTY: "one for each zap, and it stops when the list is empty",
            values.LIMIT_LOOP_CHILDREN_UNTIL_EMPTY: (
                "the zapped page and its children; at an empty list it ends and sets the limit"
            ),
        },
        source="kvm_mmu_change_mmu_pages",
    ),
    Knob(
        name="parent_stop",
        question="Where does marking the ancestors of a page that goes out of sync stop?",
        values={
            values.PARENT_STOP_NOWHERE: "nowhere: every path to every root is walked",
            values.PARENT_STOP_AT_BIT: "at a parent whose bit for the child is already set",
            values.PARENT_STOP_AT_COUNT: "there, and at a parent that already has marked children",
        },
        source="mmu_parent_walk, kvm_mmu_mark_parents_unsync",
    ),
    Knob(
        name="unsync_clear",
        question="When are the marks of children that are in sync again cleared?",
        values={
            values.UNSYNC_CLEAR_LAZILY: (
                "lazily: a walk leaves the marks of children that are absent or in sync"
            ),
            values.UNSYNC_CLEAR_AT_ONCE: (
                "at once: a walk also clears the mark of every child that is absent or in sync"
            ),
        },
        source="mmu_unsync_walk",
    ),
    Knob(
        name="cr4_write",
        question="What does a guest write to CR4 do that changes nothing, or only PGE?",
        values={
            values.CR4_WRITE_RESETS: "it resets the MMU context like any other",
            values.CR4_WRITE_FLUSHES: (
                "an equal value does nothing; a change of PGE syncs and flushes, and is not stored"
            ),
            values.CR4_WRITE_STORES: (
                "an equal value does nothing; a change of PGE syncs, flushes, and is stored"
            ),
            values.CR4_WRITE_REQUESTS: (
                "it resets only if PSE or PAE changes; for PGE the next entry syncs and flushes"
            ),
        },
        source="kvm_set_cr4",
    ),
    Knob(
        name="role_cr4_pge",
        question="Do guests with and without CR4.PGE have shadow pages of their own?",
        values={
            values.ROLE_CR4_PGE_ABSENT: "no: CR4.PGE is not part of the role",
            values.ROLE_CR4_PGE_PRESENT: "yes: CR4.PGE is part of the role",
        },
        source="base_role.cr4_pge",
    ),
    Knob(
        name="sync_scope",
        question="Which out-of-sync pages does loading a root synchronise?",
        values={
            values.SYNC_SCOPE_MARKED: "those reachable from the root, found by walking the marks",
            values.SYNC_SCOPE_LISTED: "all on one global list; one local flush at the end",
            values.SYNC_SCOPE_REACHABLE: (
                "those on the list that a root of the vCPU reaches; one local flush at the end"
            ),
            values.SYNC_SCOPE_FLUSHED_ONCE: (
                "those found by walking the marks; one remote and one local flush at the end"
            ),
            values.SYNC_SCOPE_CHANGED: (
                "those that went out of sync since the root was last synced, if it reaches them; "
                "no ancestor is marked"
            ),
        },
        source="mmu_sync_children, mmu_sync_roots, kvm_mmu_mark_parents_unsync",
    ),
    Knob(
        name="role_layout",
        question="Which part of the guest's mode belongs to a shadow page's role?",
        values={
            values.ROLE_LAYOUT_LEVELS: "the levels of its tables, in direct pages too",
            values.ROLE_LAYOUT_SHADOWED_LEVELS: "the levels of its tables; direct pages have none",
            values.ROLE_LAYOUT_PAE: "CR4.PAE, not in direct pages, and CR0.WP",
        },
        source="union kvm_mmu_page_role, kvm_mmu_get_page",
    ),
    Knob(
        name="reserved_bits",
        question="Which bits of a guest entry must be zero?",
        values={
            values.RESERVED_BITS_LOOSE: (
                "none of a last-level entry with bit 7 (PAT); 4 MiB pages' even with CR4.PSE off"
            ),
            values.RESERVED_BITS_EXACT: "those of the processor",
        },
        source="reset_rsvds_bits_mask",
    ),
    Knob(
        name="entry_read",
        question="What does an emulated write to a page table use as the new entry?",
        values={
            values.ENTRY_READ_BY_PAGE: (
                "each shadow page reads the written entry; an entry of zero is mapped too"
            ),
            values.ENTRY_READ_ONCE: (
                "one reading in the writing vCPU's mode; an entry of zero is only dropped"
            ),
        },
        source="kvm_mmu_pte_write, mmu_guess_page_from_pte_write, update_pte",
    ),
    Knob(
        name="invlpg_write",
        question="Does INVLPG map the guest's entry again, like a write to its table?",
        values={
            values.INVLPG_WRITE_NONE: "no",
            values.INVLPG_WRITE_NO_QUADRANT: (
                "yes; a 32-bit guest's quadrant is left out of the entry's address"
            ),
            values.INVLPG_WRITE_EXACT: "yes",
        },
        source="invlpg",
    ),
    Knob(
        name="forced_write",
        question="Who may use a read-only user page that CR0.WP=0 let a supervisor write?",
        values={
            values.FORCED_WRITE_FOR_ALL: "user and supervisor: it becomes writable",
            values.FORCED_WRITE_FOR_SUPERVISOR: "the supervisor only: it loses U",
        },
        source="set_spte",
    ),
    Knob(
        name="spte_overwrite",
        question="Is there a remote flush when a leaf replaces a table link or another frame?",
        values={
            values.SPTE_OVERWRITE_SILENT: "no",
            values.SPTE_OVERWRITE_FLUSHES: "yes, with the entry absent meanwhile",
        },
        source="mmu_set_spte",
    ),
    Knob(
        name="direct_access",
        question="Which permissions does a direct page below a large guest page have?",
        values={
            values.DIRECT_ACCESS_ABOVE: (
                "those of the levels above the large page's entry; it stays when that entry changes"
            ),
            values.DIRECT_ACCESS_OWN: "that entry's too; a page with other permissions is replaced",
        },
        source="fetch",
    ),
    Knob(
        name="notifier_index",
        question="How does an MMU notifier find the large mappings of an address?",
        values={
            values.NOTIFIER_INDEX_OFFSET: "by the offset in the slot, wrong in an unaligned slot",
            values.NOTIFIER_INDEX_FRAME: "by the frame",
        },
        source="kvm_handle_hva",
    ),
    Knob(
        name="shrink_count",
        question="How many pages does the shrinker say it freed?",
        values={
            values.SHRINK_COUNT_ONE: "one",
            values.SHRINK_COUNT_CHILDREN: "the zapped page and its children",
        },
        source="mmu_shrink",
    ),
    Knob(
        name="sync_trace",
        question="When are a page's going out of sync and coming back traced?",
        values={
            values.SYNC_TRACE_TRIED: ("when it is tried, before it is known to succeed"),
            values.SYNC_TRACE_DONE: "when it is done; also when a zap ends it",
        },
        source="kvm_unsync_page, kvm_unlink_unsync_page",
    ),
    Knob(
        name="zap_children",
        question="What happens to the out-of-sync pages below a page that is zapped?",
        values={
            values.ZAP_CHILDREN_ZAPPED: "they are zapped too",
            values.ZAP_CHILDREN_SET_ASIDE: (
                "they become invalid and stay, unlinked, until they are reclaimed"
            ),
        },
        source="mmu_zap_unsync_children",
    ),
    Knob(
        name="zap_commit",
        question="When is a zapped page freed, with the remote flush for it?",
        values={
            values.ZAP_COMMIT_EACH: "at once, a flush for each page",
            values.ZAP_COMMIT_BATCH: (
                "when the caller is done, one flush for all; until then they are invalid in "
                "the hash"
            ),
        },
        source="kvm_mmu_prepare_zap_page, kvm_mmu_commit_zap_page",
    ),
    Knob(
        name="unsync_count",
        question="How does a walk that clears marks update the count of marked children?",
        values={
            values.UNSYNC_COUNT_ZEROED: "it becomes zero with the last mark",
            values.UNSYNC_COUNT_EXACT: "it is decremented with every mark",
        },
        source="mmu_unsync_walk",
    ),
    Knob(
        name="cr_reset",
        question="Which writes to CR0 and CR4 reset the MMU context?",
        values={
            values.CR_RESET_ALWAYS: "every one",
            values.CR_RESET_BITS: "those that change PG, WP, CD or NW, and PGE, PSE or PAE",
        },
        source="kvm_set_cr0, kvm_set_cr4",
    ),
    Knob(
        name="global_pages",
        question="Does loading a root synchronise pages that map only global entries?",
        values={
            values.GLOBAL_PAGES_SYNCED: "yes",
            values.GLOBAL_PAGES_LEFT: "no: only writes to CR0 and CR4 do",
        },
        source="kvm_mmu_sync_global, kvm_unsync_page, set_spte",
    ),
    Knob(
        name="sync_protect",
        question="Is a page write protected again that loading a root has just protected?",
        values={
            values.SYNC_PROTECT_TWICE: "yes",
            values.SYNC_PROTECT_ONCE: (
                "no; a sync leaves every mapping of a shadowed table read-only"
            ),
        },
        source="kvm_sync_page, mmu_need_write_protect",
    ),
    Knob(
        name="write_flush",
        question="How often does an emulated write to a page table flush?",
        values={
            values.WRITE_FLUSH_EACH: "for each shadow entry",
            values.WRITE_FLUSH_ONCE: "once, after all",
        },
        source="kvm_mmu_pte_write",
    ),
    Knob(
        name="local_flush",
        question="When is a flush of the vCPU's own TLB done?",
        values={
            values.LOCAL_FLUSH_AT_ONCE: "at once",
            values.LOCAL_FLUSH_AT_ENTRY: "at its next entry, once for all requests",
        },
        source="kvm_mmu_flush_tlb",
    ),
    *LATER,
)

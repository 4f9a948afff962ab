"""One check of the whole host: every family, in the order of the specification."""

from __future__ import annotations

from refault.engines.audit import words as au
from refault.engines.audit.dirty import tlb_writes_are_logged, writable_leaves_are_logged
from refault.engines.audit.marks import count_is_exact, marks_cover_unsync_pages, parents_are_marked
from refault.engines.audit.protection import (
    gauge_counts_unsync_pages,
    hidden_entries_are_absent,
    no_leaf_writes_to_a_table,
    no_tlb_writes_to_a_table,
    unsync_page_is_of_the_right_kind,
)
from refault.engines.audit.reverse import (
    count_shadowed,
    gauge_counts_large_leaves,
    leaves_are_listed,
    lists_are_right,
)
from refault.engines.audit.shadow import has_steps
from refault.engines.audit.structure import (
    back_references_are_exact,
    budget_counts_pages,
    hash_holds_the_same_pages,
    links_lead_one_level_down,
    list_holds_live_pages,
    pages_are_unique,
    root_count_counts_roots,
    root_has_the_role_of_its_vcpu,
)
from refault.engines.audit.translation import (
    tables_translate_as_the_guest_does,
    tlb_translates_as_the_guest_did,
)
from refault.engines.audit.words import Audit
from refault.engines.shadow.state import words
from refault.engines.shadow.state.machine import Machine
from refault.engines.walk.words import Machine as Guest
from refault.replay import x86
from refault.replay.compile.jit import kernel


@kernel
def sweep(a: Audit, m: Machine, g: Guest, synced_vcpu: int) -> None:
    """Check everything; ``synced_vcpu`` has just synced its roots (-1: none has)."""
    s = a.state
    begun = s[au.STEPS]
    s[au.STEPS_END] = begun + au.SWEEP_STEPS
    s[au.SWEEPS] += 1
    s[au.SYNCED] = synced_vcpu
    pages = list_holds_live_pages(a, m)
    if pages == m.vm[words.ACTIVE]:
        check_pages(a, m, pages)
        for slot in range(m.vm[words.SLOT_COUNT]):
            place = words.SLOTS + slot * words.SLOT_WORDS
            if m.vm[place + words.SLOT_USED]:
                lists_are_right(a, m, place)
        for vcpu in range(m.vm[words.VCPU_COUNT]):
            root_has_the_role_of_its_vcpu(a, m, vcpu)
            marks_cover_unsync_pages(a, m, vcpu, int(vcpu == synced_vcpu))
            tables_translate_as_the_guest_does(a, m, g, vcpu)
            no_tlb_writes_to_a_table(a, m, vcpu)
            tlb_writes_are_logged(a, m, vcpu)
            tlb_translates_as_the_guest_did(a, m, g, vcpu)
    if s[au.STEPS] >= s[au.STEPS_END]:
        s[au.UNFINISHED] += 1
    s[au.CREDIT] -= s[au.STEPS] - begun


@kernel
def check_pages(a: Audit, m: Machine, pages: int) -> None:
    """The checks that look at one shadow page after the other."""
    hash_holds_the_same_pages(a, m)
    budget_counts_pages(a, m)
    large, unsync = 0, 0
    sp = m.vm[words.LIST_HEAD]
    for _ in range(pages):
        has_steps(a, x86.ENTRIES)
        pages_are_unique(a, m, sp)
        root_count_counts_roots(a, m, sp)
        links_lead_one_level_down(a, m, sp)
        large += leaves_are_listed(a, m, sp)
        count_shadowed(a, m, sp)
        no_leaf_writes_to_a_table(a, m, sp)
        writable_leaves_are_logged(a, m, sp)
        unsync += unsync_page_is_of_the_right_kind(a, m, sp)
        hidden_entries_are_absent(a, m, sp)
        count_is_exact(a, m, sp)
        parents_are_marked(a, m, sp)
        sp = m.page[sp + words.LIST_NEXT]
    sp = m.vm[words.LIST_HEAD]
    for _ in range(pages):
        back_references_are_exact(a, m, sp)
        sp = m.page[sp + words.LIST_NEXT]
    gauge_counts_large_leaves(a, m, large)
    gauge_counts_unsync_pages(a, m, unsync)

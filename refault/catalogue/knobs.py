"""The switches of the simulated MMU: what a patch can set, and what each value means.

A variant is a value for every knob; :mod:`refault.catalogue.bases` says which
values a base has. ``source`` of a knob names KVM's functions where the
difference lies.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Knob:
    """One switch: its name, what it decides, and the meaning of each of its values from 0."""

    name: str
    question: str
    values: tuple[str, ...]
    source: str


KNOBS: tuple[Knob, ...] = (
    Knob(
        name="zap_return",
        question="What does mmu_zap_unsync_children() return?",
        values=(
            "the length of the path vector, parents included",
            "the number of children zapped",
        ),
        source="mmu_zap_unsync_children",
    ),
    Knob(
        name="hash_restart",
        question="Where does a walk of a hash bucket go on after a zap that took children along?",
        values=(
            "mmu_unshadow() goes on at the next node it saved before, freed or not",
            "mmu_unshadow() goes on at the bucket's head",
            "every walk starts again; a flooded page zapped so is not counted in mmu_flooded",
        ),
        source="mmu_unshadow, kvm_mmu_unprotect_page, kvm_mmu_pte_write, kvm_mmu_zap_all",
    ),
    Knob(
        name="limit_loop",
        question="How does lowering the page limit count the pages it zaps?",
        values=(
            "one for each zap, whatever went with it",
            "the zapped page and its children",
            "one for each zap, and it stops when the list is empty",
            "the zapped page and its children; at an empty list it stops, and the limit follows",
        ),
        source="kvm_mmu_change_mmu_pages",
    ),
    Knob(
        name="parent_stop",
        question="Where does marking the ancestors of a page that goes out of sync stop?",
        values=(
            "nowhere: every path to every root is walked",
            "at a parent whose bit for the child is already set",
            "there, and at a parent that had marked children before",
        ),
        source="mmu_parent_walk, kvm_mmu_mark_parents_unsync",
    ),
    Knob(
        name="unsync_clear",
        question="When are the marks of children that are in sync again cleared?",
        values=(
            "lazily: some stay set below a parent whose count is zero",
            "exactly: a walk clears the mark of every child that is in sync",
        ),
        source="mmu_unsync_walk",
    ),
    Knob(
        name="cr4_write",
        question="What does a guest write to CR4 do that changes nothing, or only PGE?",
        values=(
            "it resets the MMU context like any other",
            "an equal value does nothing; a change of PGE syncs and flushes, and is not stored",
            "an equal value does nothing; a change of PGE syncs, flushes, and is stored",
        ),
        source="kvm_set_cr4",
    ),
    Knob(
        name="role_cr4_pge",
        question="Do guests with and without CR4.PGE have shadow pages of their own?",
        values=("no: CR4.PGE is not part of the role", "yes: CR4.PGE is part of the role"),
        source="base_role.cr4_pge",
    ),
    Knob(
        name="sync_scope",
        question="Which out-of-sync pages does loading a root synchronise?",
        values=(
            "those reachable from the root, found by walking the marks",
            "all on one list of the module; one local flush at the end",
        ),
        source="mmu_sync_children",
    ),
)

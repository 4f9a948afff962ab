"""Patch 3 as merged, second of three steps."""

from __future__ import annotations

from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-clear-complete",
    title="Clear every mark without a reason",
    author="Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "mmu_unsync_walk() also clears the marks of children that are absent, large, or in "
        "sync with nothing out of sync below."
    ),
    claim="A preparation for the early stop: a set mark always has a reason.",
    objection="",
    fate="Merged: 7a8f1a74e41 (2.6.36), whose message says what it prepares.",
    knobs={"unsync_clear": 1},
    requires=("unsync-count-exact",),
    source="7a8f1a74e41",
    short="p3m2",
    form_of="parent-stop-bit",
)

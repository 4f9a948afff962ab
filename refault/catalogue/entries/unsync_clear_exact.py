"""What makes the early stop of patch 3 sound, in our own words."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="unsync-clear-exact",
    title="Clear the marks of children that are in sync again",
    author="after Xiao Guangrong",
    date="2010-06-11",
    summary=(
        "mmu_unsync_walk() clears the mark of every child that is absent, large or in sync, "
        "and decrements the count, so that a set mark always has a reason."
    ),
    claim="With exact marks the early stop of parent-stop-count is sound.",
    objection="",
    fate=(
        "The same behaviour was merged as ebdea638df0 and 7a8f1a74e41 (2.6.36), in "
        "preparation of 1047df1fb68."
    ),
    knobs={"unsync_count": values.UNSYNC_COUNT_EXACT, "unsync_clear": values.UNSYNC_CLEAR_AT_ONCE},
    requires=("parent-stop-count",),
    source="not part of the thread",
    short="fix",
    reconstruction=(
        "Our own wording of the two later commits; on April's code both gave the same bytes."
    ),
)

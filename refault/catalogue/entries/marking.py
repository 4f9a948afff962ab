"""Patch 3 of the series and its other forms: marking the ancestors of an out-of-sync page.

When a table goes out of sync, every shadow page above it gets a mark, so that
loading a root finds the table again. The patch stops at an ancestor that
already has one. That is sound only if no mark outlives its reason: on this
base a mark can stay set below a parent whose own mark was cleared.
"""

from __future__ import annotations

from refault.catalogue.model import Patch

_CUT = "The mail is cut off in the archived thread: the callback's body is reconstructed"

PATCHES: tuple[Patch, ...] = (
    Patch(
        id="parent-stop-bit",
        title="[PATCH 3/6] stop walking parents that are already marked",
        author="Xiao Guangrong",
        date="2010-04-12",
        summary=(
            "mmu_parent_walk() goes up from a parent only if the callback changed something: "
            "marking stops where the parent's bit for this child is already set. The unused "
            "argument 'vcpu' goes."
        ),
        claim="If a parent is marked unsync already, there is no need to walk its parents.",
        objection=(
            "Avi Kivity: separate the two changes; the optimisation looks good. Marcelo Tosatti: "
            "the code is not performance sensitive and stable, leave it. Neither saw that marks "
            "left behind make the early stop unsound."
        ),
        fate=(
            "Only the unused argument went in: 6b18493d60e (2.6.35-rc1). The early stop was merged "
            "as 1047df1fb68 (2.6.36), after ebdea638df0 and 7a8f1a74e41 had made the clearing of "
            "marks exact."
        ),
        knobs={"parent_stop": 1},
        requires=("zap-account",),
        source="kvm mailing list, 12 April 2010, mail of 1:02 am; cut off after the first half",
        short="p3",
        reconstruction=f"{_CUT} from its description.",
    ),
    Patch(
        id="parent-stop-count",
        title="Patch 3, the wider reading: stop at a parent that had marked children",
        author="Xiao Guangrong",
        date="2010-04-12",
        summary=(
            "As parent-stop-bit, and marking also stops at a parent that already had other marked "
            "children."
        ),
        claim="A parent with marked children has marked ancestors already.",
        objection="Unsound on this base for the same reason, and in more cases.",
        fate="This is the rule that was merged: 1047df1fb68 (2.6.36), on top of exact clearing.",
        knobs={"parent_stop": 2},
        requires=("zap-account",),
        source="the same mail; the rule is that of 1047df1fb68",
        short="p3count",
        form_of="parent-stop-bit",
        reconstruction=f"{_CUT} from the commit that was merged later.",
    ),
    Patch(
        id="unsync-clear-exact",
        title="Clear the marks of children that are in sync again",
        author="after Xiao Guangrong",
        date="2010",
        summary=(
            "mmu_unsync_walk() clears the mark of every child that is absent, large or in sync, "
            "and counts it off, so that a set mark always has a reason."
        ),
        claim="With exact marks the early stop of parent-stop-count is sound.",
        objection="",
        fate=(
            "The same behaviour was merged as ebdea638df0 and 7a8f1a74e41 (2.6.36), in "
            "preparation of 1047df1fb68."
        ),
        knobs={"unsync_clear": 1},
        requires=("parent-stop-count",),
        source="not part of the thread",
        short="fix",
        reconstruction=(
            "Our own wording of the two later commits; on April's code both gave the same bytes."
        ),
    ),
)

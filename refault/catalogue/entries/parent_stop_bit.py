"""Patch 3 of the series: marking the ancestors of an out-of-sync page.

When a table goes out of sync, every shadow page above it gets a mark, so that
loading a root finds the table again. The patch stops at an ancestor that
already has one. That is sound only if no mark outlives its reason: on the
bases a mark can stay set below a parent whose own mark was cleared.
"""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Beginning, Patch

PATCH = Patch(
    id="parent-stop-bit",
    title="[PATCH 3/6] stop walking parents that are already marked",
    author="Xiao Guangrong",
    date="2010-04-12",
    summary=(
        "mmu_parent_walk() goes up from a parent only if the callback changed something: "
        "marking stops where the parent's bit for this child is already set. The unused "
        "argument 'vcpu' is removed."
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
    knobs={"parent_stop": values.PARENT_STOP_AT_BIT},
    requires=(),
    source="kvm mailing list, 12 April 2010, mail of 1:02 am; cut off after the first half",
    short="p3",
    reconstruction=(
        "The mail is cut off in the archived thread: the callback's body is reconstructed "
        "from its description."
    ),
    subjects=("KVM MMU: optimize/cleanup for marking parent unsync",),
    beginning=Beginning(
        23, "b67d28f4d60ef3e61716c39e95fec08f0164316fe8dfe22f168b59e6eea1841c", added=23, removed=46
    ),
    files=("arch/x86/kvm/mmu.c",),
)

"""Patch 2 as Avi Kivity wanted it in the longer term."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
    id="zap-children-invalid",
    title="Zap only the page that is given; mark its out-of-sync children invalid",
    author="after Avi Kivity",
    date="2010-04-12",
    summary=(
        "A zap does not zap children: each out-of-sync page below becomes invalid, is "
        "unlinked from its parents and not write protected any more, and stays in the list"
        " until it is reclaimed. A zap always answers 0."
    ),
    claim="One call frees one page: no count can be wrong, and no walk needs a restart.",
    objection=(
        "More garbage at the end of the list and fewer pages freed at once. While an invalid "
        "page of a table is still there, that table cannot go out of sync again, so writes to"
        " it are emulated."
    ),
    fate=(
        "Never merged. zap-batch (2.6.36) marks pages invalid too, but zaps the children all "
        "the same."
    ),
    knobs={"zap_return": values.ZAP_RETURN_CHILDREN, "zap_children": values.ZAP_CHILDREN_SET_ASIDE},
    requires=(),
    source="Avi Kivity's reply of 12 April 2010 in the same thread",
    short="p2inv",
    form_of="zap-account",
    reconstruction="The reply is one sentence; what happens to the marked pages is inferred.",
)

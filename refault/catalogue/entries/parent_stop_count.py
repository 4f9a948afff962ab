"""Patch 3 in the wider of two readings."""

from __future__ import annotations

from refault.catalogue import values
from refault.catalogue.model import Patch

PATCH = Patch(
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
    knobs={"parent_stop": values.PARENT_STOP_AT_COUNT},
    requires=(),
    source="the same mail; the rule is that of 1047df1fb68",
    short="p3count",
    form_of="parent-stop-bit",
    reconstruction=(
        "The mail is cut off in the archived thread: the callback's body is reconstructed "
        "from the commit that was merged later."
    ),
)
